//! Which code seals and opens: the fastest that this processor runs.

use std::sync::OnceLock;

/// A way to seal and open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// One message at a time, with aws-lc.
    Library,
    /// Sixteen messages at once, with AVX-512 and IFMA: Ice Lake and Zen 4 or newer.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Backend {
    /// The fastest that this processor runs.
    pub fn fastest() -> Self {
        static FASTEST: OnceLock<Backend> = OnceLock::new();
        *FASTEST.get_or_init(|| Self::available().last().unwrap_or(Self::Library))
    }

    /// All that this processor runs, the fastest last.
    pub fn available() -> impl Iterator<Item = Self> {
        let all = [
            Self::Library,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512,
        ];
        all.into_iter().filter(|backend| backend.is_available())
    }

    fn is_available(self) -> bool {
        match self {
            Self::Library => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => super::avx512::is_available(),
        }
    }
}
