# Tells the script that ends the gateway how long it may live from here on.

echo "$round $seconds ." >/etc/adit/end/in.new
mv -f /etc/adit/end/in.new /etc/adit/end/in
