//! Spreads the texts of a group over the lanes of the cipher, step by step, so that only the last step has idle ones.

use core::arch::x86_64::{__m512i, _mm512_mask_storeu_epi8, _mm512_maskz_loadu_epi8, _mm512_xor_si512};

use super::{
    super::job::Job,
    chacha::{LANES, Lanes},
};

const BLOCK: usize = 64;

/// What is still to be encrypted or decrypted of a group.
pub(super) struct Cursor<'j> {
    jobs: &'j [Job],
    /// Bytes of the first job's text that are done.
    done: usize,
}

/// The texts that the blocks of one step are for.
#[derive(Clone, Copy)]
pub(super) struct Spans {
    list: [Span; LANES],
    count: usize,
}

/// A text that the blocks of one step are for, from the lane `first` on.
#[derive(Clone, Copy)]
struct Span {
    text: *mut u8,
    len: usize,
    first: usize,
}

impl<'j> Cursor<'j> {
    pub(super) fn new(jobs: &'j [Job]) -> Self {
        Self { jobs, done: 0 }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Fills the lanes from `lane` on, and says which texts they are for.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn fill(&mut self, mut lane: usize, lanes: &mut Lanes, spans: &mut Spans) {
        spans.count = 0;
        while let Some(job) = self.jobs.first() {
            let len = (job.len - self.done).min((LANES - lane) * BLOCK);
            if len > 0 {
                let blocks = len.div_ceil(BLOCK);
                // Block 0 made the one-time key. *RFC 8439 2.8*.
                lanes.set(lane, blocks, &job.nonce, block_number(self.done));
                spans.list[spans.count] = Span {
                    text: job.text.wrapping_add(self.done),
                    len,
                    first: lane,
                };
                spans.count += 1;
                lane += blocks;
                self.done += len;
            }
            if self.done < job.len {
                break;
            }
            (self.jobs, self.done) = (&self.jobs[1..], 0);
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a message is shorter than 2^32 blocks")]
fn block_number(offset: usize) -> u32 {
    1 + (offset / BLOCK) as u32
}

impl Spans {
    pub(super) fn new() -> Self {
        let nowhere = Span {
            text: core::ptr::null_mut(),
            len: 0,
            first: 0,
        };
        Self {
            list: [nowhere; LANES],
            count: 0,
        }
    }

    /// Encrypts or decrypts these texts with the blocks of their step.
    ///
    /// # Safety
    ///
    /// They can be read and written.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) unsafe fn apply(&self, blocks: &[__m512i; LANES]) {
        for span in &self.list[..self.count] {
            // SAFETY: the caller's promise.
            unsafe { span.apply(&blocks[span.first..]) };
        }
    }
}

impl Span {
    /// # Safety
    ///
    /// The text can be read and written.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn apply(&self, blocks: &[__m512i]) {
        let (whole, rest) = (self.len / BLOCK, self.len % BLOCK);
        let text = self.text.cast::<__m512i>();
        for (at, &block) in blocks[..whole].iter().enumerate() {
            let text = text.wrapping_add(at);
            // SAFETY: the text has this block.
            unsafe { text.write_unaligned(_mm512_xor_si512(text.read_unaligned(), block)) };
        }
        if rest > 0 {
            let mask = u64::MAX >> (BLOCK - rest);
            let text = text.wrapping_add(whole).cast::<i8>();
            // SAFETY: what the mask excludes, behind the text, is not touched.
            unsafe {
                let part = _mm512_maskz_loadu_epi8(mask, text.cast_const());
                _mm512_mask_storeu_epi8(text, mask, _mm512_xor_si512(part, blocks[whole]));
            }
        }
    }
}
