# Each target is one verb of `cargo xtask`, which does the work. `make help` lists them.
HV   ?= kvm
ZARCH ?= amd64
ARCH ?= $(ZARCH)
xtask = cargo xtask

.PHONY: image live images run test test-all check bench lock clean help
image:    ; @$(xtask) image --hv $(HV) --arch $(ARCH) $(ARGS)
live:     image
images:   ; @$(xtask) image --all $(ARGS)
run:      ; @$(xtask) run --hv $(HV) --arch $(ARCH) $(ARGS)
test:     ; @$(xtask) test $(ARGS)
test-all: ; @$(xtask) test --all $(ARGS)
check:    ; @$(xtask) check $(ARGS)
bench:    ; @$(xtask) bench $(ARGS)
lock:     ; @$(xtask) lock update $(ARGS)
clean:    ; @$(xtask) clean
help:     ; @$(xtask) help-make
