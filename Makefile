# Each target is one verb of `cargo xtask`, which does the work. `make help` lists them.
HV   ?= kvm
ZARCH ?= amd64
ARCH ?= $(ZARCH)
# cargo shows how it compiles the builder, and is quiet when there is nothing to compile
built = $(or $(CARGO_TARGET_DIR),target)/release/xtask
stale := $(shell find Cargo.toml Cargo.lock crates xtask -newer $(built) -print -quit 2>&1)
xtask = cargo run $(if $(stale),,-q) --release -p xtask --
ifeq ($(wildcard $(built)),)
$(shell echo 'The builder itself is compiled first, once: about 6 minutes on two cores.' >&2)
endif

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
