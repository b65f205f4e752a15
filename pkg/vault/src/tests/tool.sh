#!/bin/sh
# A tool of the system, by the name that it is called by. `power` says how many more of them run before the power goes.
name=${0##*/}
here=$(dirname "$0")/..
if [ -e "$here/power" ]; then
    left=$(cat "$here/power")
    [ "$left" -gt 0 ] || exit 9
    echo $((left - 1)) > "$here/power"
fi
echo "$name $*" >> "$here/calls"
# what a key is bound to: PCR 7 and PCR 14, as they are or as is said
policy() {
    echo "$(cat "$here/tpm/pcr-sha256/7") ${1:-$(cat "$here/tpm/pcr-sha256/14")}" | tr A-F a-f
}
if [ -e "$here/does/$name" ]; then
    . "$here/does/$name"
fi
exit 0
