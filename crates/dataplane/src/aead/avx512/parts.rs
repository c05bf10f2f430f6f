//! Which blocks of which messages each lane of the authenticator goes over.
//!
//! Compiled without vector instructions on purpose: the compiler would spend more on moving these few numbers into
//! vectors and out again than on the numbers.

use super::super::job::Job;

pub(super) const LANES: usize = 8;

pub(super) const BLOCK: usize = 16;

/// Four blocks, which are authenticated together.
pub(super) const CHUNK: usize = 64;

/// Messages of fewer chunks are not cut: to join the parts again takes as long as three chunks.
const MIN_CHUNKS_TO_CUT: usize = 4;

/// The part of a message that each lane goes over. The parts of a message follow one another, and the last ones of all
/// messages end together; lanes that are left over repeat the last message.
///
/// ```text
///   lane 0              ├ first ─ chunk ─ chunk ─ last ┤    The last chunk of a message ends with the block of
///   lane 1   ├─ first ─ chunk ─ chunk ─ chunk ─── last ┤    lengths, its first may lack blocks at the front.
/// ```
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    /// The binary logarithm of the number of parts of each message.
    pub(super) cuts: u32,
    /// Chunks of the longest part.
    pub(super) chunks: usize,
    /// Chunks of the shortest part that have all four blocks.
    pub(super) whole: usize,
    /// Where each part's last block ends, or would if the text were longer.
    pub(super) ends: [*const u8; LANES],
    /// Bytes of each part, up to there.
    pub(super) lens: [u64; LANES],
    /// Bytes of these that are not in the text: the padding and the block of lengths.
    pub(super) missing: [u64; LANES],
    /// Lengths of the texts, for the lanes that go over the block of lengths.
    pub(super) text_lens: [u64; LANES],
}

impl Parts {
    /// Cuts up to eight messages, if they are so few that lanes were idle otherwise.
    #[inline(never)]
    pub(super) fn new(jobs: &[Job]) -> Self {
        let longest = jobs.iter().fold(0, |most, job| most.max(blocks(job.len)));
        let (cuts, chunks) = cuts_and_chunks(jobs.len(), longest);
        let mut parts = Self {
            cuts,
            chunks,
            whole: usize::MAX,
            ends: [core::ptr::null(); LANES],
            lens: [0; LANES],
            missing: [0; LANES],
            text_lens: [0; LANES],
        };
        for lane in 0..LANES {
            let job = &jobs[job_of(lane, cuts, jobs.len())];
            let behind = !lane & ((1 << cuts) - 1);
            let end = blocks(job.len).saturating_sub(4 * chunks * behind) * BLOCK;
            let len = end.min(chunks * CHUNK);
            parts.whole = parts.whole.min(len / CHUNK);
            parts.ends[lane] = job.text.wrapping_add(end).cast_const();
            parts.lens[lane] = len as u64;
            if behind == 0 {
                parts.missing[lane] = (end - job.len) as u64;
                parts.text_lens[lane] = job.len as u64;
            }
        }
        parts
    }
}

/// The job of a lane.
#[inline]
pub(super) fn job_of(lane: usize, cuts: u32, jobs: usize) -> usize {
    (lane >> cuts).min(jobs - 1)
}

/// Blocks of a text, with that of the lengths. *RFC 8439 2.8*.
#[inline]
pub(super) fn blocks(len: usize) -> usize {
    len.div_ceil(BLOCK) + 1
}

/// How often each of some messages is halved, and how many chunks its parts then have.
pub(super) fn cuts_and_chunks(messages: usize, longest_blocks: usize) -> (u32, usize) {
    let chunks = longest_blocks.div_ceil(4);
    let cuts = match messages {
        _ if chunks < MIN_CHUNKS_TO_CUT => 0,
        1 => 3,
        2 => 2,
        3 | 4 => 1,
        _ => 0,
    };
    (cuts, (chunks + (1 << cuts) - 1) >> cuts)
}
