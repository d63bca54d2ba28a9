#!/bin/sh
# rustdoc whose unstable options work. Cargo itself doesn't get the variable, since build scripts would run anew.
RUSTC_BOOTSTRAP=1 exec rustdoc "$@"
