# systemd-cryptenroll with the same header. It enrolls before it wipes, and does nothing where the policy is enrolled already.
slot=0
while [ -e "$here/slots/$slot" ]; do slot=$((slot + 1)); done
wipe= unlock= pcrs= recovery= new=
for word; do
    case "$word" in
    --wipe-slot=*) wipe=${word#*=} ;;
    --unlock-key-file=*) unlock=${word#*=} ;;
    --unlock-tpm2-device=auto) unlock=tpm ;;
    --tpm2-pcrs=*) pcrs=${word#*=} ;;
    --recovery-key) recovery=yes ;;
    esac
done
if [ -n "$pcrs$recovery" ] && [ "$unlock" != tpm ]; then
    known=
    for item in "$here"/slots/*; do cmp -s "$item" "$unlock" && known=yes; done
    [ -n "$known" ] || { echo "Unlocking via keyfile failed: Operation not permitted" >&2; exit 1; }
fi
if [ -n "$recovery" ]; then
    printf 'key-%s' "$slot" > "$here/slots/$slot"
    printf '{"type":"systemd-recovery","keyslots":["%s"]}' "$slot" > "$here/tokens/$slot"
    echo "key-$slot"
fi
if [ -n "$pcrs" ]; then
    config=
    [ "${pcrs##*=}" = "$pcrs" ] || config=${pcrs##*=}
    policy=$(policy "$config")
    new=$(basename "$(grep -lF "$policy" "$here"/tokens/* || echo none)")
    if [ "$new" = none ]; then
        case "$*" in *--tpm2-signature=*)
            [ ! -e "$here/unsigned" ] || { echo "Failed to unseal secret using TPM2" >&2; exit 1; } ;;
        esac
        new=$slot
        printf 'in the TPM' > "$here/slots/$new"
        printf '{"type":"systemd-tpm2","keyslots":["%s"],"tpm2-blob":"%s","tpm2-policy-hash":"%s","tpm2_pubkey":"x"}' \
            "$new" "$(cat "$here/tpm/seed")" "$policy" > "$here/tokens/$new"
    fi
fi
for item in $(echo "$wipe" | tr , ' '); do
    [ "$item" = tpm2 ] && item=$(grep -lF '"systemd-tpm2"' "$here"/tokens/* | xargs -rn1 basename)
    for slot in $item; do
        [ "$slot" = "$new" ] && continue
        [ "$(ls "$here/slots" | wc -l)" -gt 1 ] || { echo "Wipe operation would leave no valid slots around" >&2; exit 1; }
        rm "$here/slots/$slot"
        rm -f "$here/tokens/$slot"
    done
done
