# What Azure's agent does of Run Command, behind a serial port of the machine's: reads the path of a script, runs it as root, and
# answers `EXIT LENGTH LENGTH`, a line's end, and as many bytes of standard output and of standard error.

for port in /dev/vport*; do
    exec 3<>"$port"
done
echo up >&3
while read -r script <&3; do
    /bin/sh "$script" </dev/null >/run/agent.out 2>/run/agent.err 3>&-
    code=$?
    echo "$code $(stat -c %s /run/agent.out) $(stat -c %s /run/agent.err)" >&3
    cat /run/agent.out /run/agent.err >&3
done
