// Writes what the pages of a browser send and get, a line of JSON for each exchange in the order in which they end.
//
// A body is a string where it is text, else `{ "base64": … }`; `null` where there is none, or where the browser no
// longer had it. Frames of WebSockets and events of streams are lines of their own.

import { createWriteStream } from 'node:fs';
import { once } from 'node:events';

export class Recorder {
  #file;
  #start = Date.now();
  #open = new Map();
  #answers = new Map();
  #pending = new Set();

  constructor(path) {
    this.#file = createWriteStream(path);
  }

  /// Records what the pages of `context` send and get from here on.
  watch(context) {
    context.on('request', (request) => this.#open.set(request, this.#now()));
    context.on('response', (response) => this.#answers.set(response.request(), response));
    context.on('requestfinished', (request) => this.#end(request));
    context.on('requestfailed', (request) => this.#end(request));
    context.on('page', (page) => {
      page.on('websocket', (socket) => this.#frames(socket));
      this.#later(this.#events(context, page));
    });
  }

  /// Waits for what is under way, writes what never ended, and closes the file.
  async close() {
    await Promise.allSettled(this.#pending);
    for (const request of this.#open.keys()) {
      this.#end(request, false);
    }
    await Promise.allSettled(this.#pending);
    this.#file.end();
    await once(this.#file, 'finish');
  }

  #end(request, ended = true) {
    const at = this.#open.get(request);
    if (at !== undefined && this.#open.delete(request)) {
      this.#later(this.#exchange(request, at, ended));
    }
  }

  async #exchange(request, at, ended) {
    const response = this.#answers.get(request) ?? null;
    this.#answers.delete(request);
    // Of one that goes on, what is known by now: the rest may never come.
    const whole = async (ask, otherwise) => (ended ? ask().catch(() => otherwise) : otherwise);
    this.#write({
      at,
      method: request.method(),
      url: request.url(),
      kind: request.resourceType(),
      request: {
        headers: await whole(() => request.allHeaders(), request.headers()),
        body: body(request.postDataBuffer()),
      },
      response: response && {
        status: response.status(),
        headers: await whole(() => response.allHeaders(), response.headers()),
        body: body(await whole(() => response.body(), null)),
      },
      failure: request.failure()?.errorText ?? (ended ? null : 'still under way when the visit ended'),
    });
  }

  #frames(socket) {
    const write = (direction) => (frame) =>
      this.#write({ at: this.#now(), kind: 'frame', url: socket.url(), [direction]: body(Buffer.from(frame.payload)) });
    socket.on('framesent', write('sent'));
    socket.on('framereceived', write('received'));
  }

  async #events(context, page) {
    const session = await context.newCDPSession(page);
    session.on('Network.eventSourceMessageReceived', ({ eventName, data }) => {
      this.#write({ at: this.#now(), kind: 'event', event: eventName, received: data });
    });
    await session.send('Network.enable');
  }

  /// Milliseconds since the recording began.
  #now() {
    return Date.now() - this.#start;
  }

  #later(promise) {
    this.#pending.add(promise);
    // A page that has gone says nothing more: no error of the visit's.
    promise.catch(() => {}).finally(() => this.#pending.delete(promise));
  }

  #write(line) {
    this.#file.write(`${JSON.stringify(line)}\n`);
  }
}

/// Every byte that Chromium sent, before TLS made it unreadable, of its record of the network.
export function sent(netlog) {
  const types = netlog.constants.logEventTypes;
  const kinds = ['SOCKET_BYTES_SENT', 'SSL_SOCKET_BYTES_SENT', 'UDP_BYTES_SENT'].map((name) => types[name]);
  const events = netlog.events.filter(({ type, params }) => kinds.includes(type) && params?.bytes);
  return Buffer.concat(events.map(({ params }) => Buffer.from(params.bytes, 'base64')));
}

function body(bytes) {
  if (bytes === null) {
    return null;
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return { base64: bytes.toString('base64') };
  }
}
