// Makes a container at Azurite: node azurite.mjs URL KEY. Signs as *Azure Storage: authorize with Shared Key* says.
import { createHmac } from "node:crypto";

const [url, key] = process.argv.slice(2);
const path = new URL(url).pathname;
const account = path.split("/")[1];
const own = { "x-ms-date": new Date().toUTCString(), "x-ms-version": "2021-12-02" };
const lines = Object.entries(own).map(([name, value]) => `${name}:${value}\n`);
const text = `PUT${"\n".repeat(12)}${lines.join("")}/${account}${path}\nrestype:container`;
const signature = createHmac("sha256", Buffer.from(key, "base64")).update(text).digest("base64");
const headers = { ...own, authorization: `SharedKey ${account}:${signature}` };
const answer = await fetch(`${url}?restype=container`, { method: "PUT", headers });
if (answer.status !== 201) {
  console.error(answer.status, await answer.text());
  process.exit(1);
}
