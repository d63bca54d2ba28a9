//! The instructions that all encoders of a process compute by.

use std::sync::LazyLock;

use embed_core::{Error, ErrorKind};
use embed_kernels::{Instructions, Processor};

/// The variable that names the instructions: `amx`, `avx512`, `avxvnni`, `avx2`, `neon` or `portable`. Without it the
/// fastest are taken that the processor has.
pub const KERNELS_VARIABLE: &str = "EMBED_KERNELS";

/// The name of the instructions, as [`KERNELS_VARIABLE`] takes it. The vectors are the same to the bit by all of them.
///
/// # Errors
///
/// [`ErrorKind::Config`] if the variable names none, or some that this processor doesn't have.
pub fn kernels() -> Result<String, Error> {
    processor().map(|processor| processor.instructions().to_string())
}

/// What kernels run on, read and detected once.
pub(crate) fn processor() -> Result<Processor, Error> {
    static PROCESSOR: LazyLock<Result<Processor, String>> =
        LazyLock::new(|| match std::env::var_os(KERNELS_VARIABLE).filter(|name| !name.is_empty()) {
            None => Ok(Processor::detect()),
            Some(name) => named(&name.to_string_lossy()),
        });
    PROCESSOR
        .clone()
        .map_err(|problem| Error::new(ErrorKind::Config, format!("{KERNELS_VARIABLE}: {problem}")))
}

fn named(name: &str) -> Result<Processor, String> {
    let instructions: Instructions = name.parse().map_err(|unknown| format!("{unknown}"))?;
    Processor::with(instructions).map_err(|unavailable| unavailable.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_taken_or_refused_with_what_there_is() {
        assert_eq!(named("portable").unwrap().instructions(), Instructions::Portable);
        for name in ["", "avx3", "AVX2"] {
            let problem = named(name).unwrap_err();
            assert!(problem.contains("portable"), "{problem}");
        }
    }
}
