# systemd-cryptsetup with a TPM that releases the key for its registers, unless it was cleared since; `unsigned` is an image that is not signed for it
for token in $(grep -lF "$(policy)" "$here"/tokens/*); do
    [ ! -e "$here/unsigned" ] && grep -qF "\"$(cat "$here/tpm/seed")\"" "$token" && touch "$here/persist" && exit 0
done
echo "Failed to unseal secret using TPM2: Operation not permitted" >&2
echo "Password querying disabled via 'headless' option." >&2
exit 1
