#!/bin/sh
# As in the public image: started as root, the broker's folders are given to the user that mosquitto turns into.
set -e
if [ "$(id -u)" = 0 ]; then
    chown -R mosquitto:mosquitto /mosquitto || true
fi
exec "$@"
