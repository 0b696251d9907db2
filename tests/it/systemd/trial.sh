#!/bin/sh
# What an administrator does with the package, on a machine of its own under a running systemd.
# The last line says whether all went as it should; what systemd and watchpost said stands above.
set -eu
config=/etc/watchpost/config.toml

property() { systemctl show --property="$1" --value watchpost; }
# is PROPERTY VALUE
is() {
    [ "$(property "$1")" = "$2" ] || { echo "$1 is $(property "$1"), not $2"; exit 1; }
}
# within TENTHS COMMAND…: tries until it holds.
within() {
    left=$1
    shift
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || { echo "not in time: $*"; exit 1; }
        sleep 0.1
    done
}
up() { watchpost query "target_up{target=\"$1\"}" | grep -q ' 1$'; }
refused() { if "$@"; then echo "not refused: $*"; exit 1; fi; }
watching() { [ "$(property StatusText)" = "$1" ]; }
killed_and_back() { [ "$(property NRestarts)" = 1 ] && [ "$(property SubState)" = running ]; }
trap 'journalctl --unit=watchpost --no-pager' EXIT

echo "== the package starts it, as a user that may send pings"
ip link set lo up
# Images of containers forbid packages to start services.
rm -f /usr/sbin/policy-rc.d
dpkg --install /trial/watchpost.deb
is SubState running
cat >"$config" <<END
[icmp.here]
host = "127.0.0.1"
interval = "1s"
timeout = "500ms"
[tcp.closed]
address = "127.0.0.1:1"
interval = "1s"
timeout = "500ms"
END
systemctl restart watchpost
watching "targets: 2, rules: 0"
pid=$(property MainPID)
[ "$(stat --format=%U "/proc/$pid")" = watchpost ]
grep -q '^CapEff:.*2000$' "/proc/$pid/status"
within 100 up here

echo "== the journal names the target that is down, as a warning"
said() { journalctl --unit=watchpost --priority=warning --output=cat | grep -q "$1"; }
within 100 said 'target{id="tcp.closed"}: down'

echo "== a mistake is refused by reload, and the daemon goes on"
echo 'nonsense = 1' >>"$config"
refused systemctl reload watchpost
is MainPID "$pid"
is SubState running

echo "== a good configuration is taken by the same process"
sed -i /nonsense/d "$config"
printf '[icmp.there]\nhost = "127.0.0.2"\ninterval = "1s"\ntimeout = "500ms"\n' >>"$config"
systemctl reload watchpost
is MainPID "$pid"
within 100 watching "targets: 3, rules: 0"
within 100 up there

echo "== killed, it comes back"
kill -KILL "$pid"
within 300 killed_and_back

echo "== stuck, it is ended by the watchdog and comes back"
mkdir -p /etc/systemd/system/watchpost.service.d
printf '[Service]\nWatchdogSec=1s\n' >/etc/systemd/system/watchpost.service.d/trial.conf
systemctl daemon-reload
systemctl restart watchpost
kill -STOP "$(property MainPID)"
within 300 killed_and_back
journalctl --unit=watchpost --output=cat | grep -q 'Watchdog timeout'

echo "== it stops when told"
systemctl stop watchpost
is Result success
is SubState dead

echo "== it is not tried again and again with a bad configuration"
echo 'nonsense = 1' >>"$config"
refused systemctl start watchpost
is ExecMainStatus 78
is SubState failed

echo "== the package leaves"
dpkg --purge watchpost
[ ! -e /var/lib/watchpost ]
trap - EXIT
echo "all went as it should"
