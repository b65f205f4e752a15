# cryptsetup with a header that is two folders: `slots`, each with the key that opens it, and `tokens`
list() {
    comma=
    for item in "$here/$1"/*; do
        [ -e "$item" ] || continue
        printf '%s"%s":%s' "$comma" "${item##*/}" "$(if [ "$1" = slots ]; then echo '{}'; else cat "$item"; fi)"
        comma=,
    done
}
id=
for word; do
    case "$word" in --token-id=*) id=${word#*=} ;; esac
done
case "$1 $2" in
luksDump*)
    printf '{"keyslots":{%s},"tokens":{%s},' "$(list slots)" "$(list tokens)"
    slots=$(ls "$here/slots" | sed 's/.*/"&"/' | paste -sd,)
    printf '"segments":{"0":{"encryption":"%s"}},' "$(cat "$here/cipher" || echo aes-xts-plain64)"
    printf '"digests":{"0":{"type":"pbkdf2","keyslots":[%s],"digest":"%s"}}}' "$slots" "$(cat "$here/volume")"
    ;;
"token remove") rm "$here/tokens/$id" ;;
"token import")
    if [ -z "$id" ]; then
        id=9
        while [ -e "$here/tokens/$id" ]; do id=$((id + 1)); done
    fi
    cat > "$here/tokens/$id"
    ;;
open*)
    cat > "$here/tried"
    for slot in "$here"/slots/*; do
        cmp -s "$slot" "$here/tried" && touch "$here/persist" && exit 0
    done
    [ -e "$here/does/wrong-key" ] && . "$here/does/wrong-key"
    echo "No key available with this passphrase." >&2
    exit 2
    ;;
esac
