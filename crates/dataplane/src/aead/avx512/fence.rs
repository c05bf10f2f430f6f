//! Nothing outside of a text is touched: each lies against memory that must not be.

use super::{
    super::{Backend, Key, Place, TAG_LEN},
    is_available,
};

const PAGE: usize = 4096;

/// Pages that can be used, between two that cannot.
struct Fenced {
    start: *mut u8,
    len: usize,
}

impl Fenced {
    fn new(len: usize) -> Self {
        let len = len.next_multiple_of(PAGE);
        // SAFETY: new pages are mapped, which nothing else uses.
        let start = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let all = libc::mmap(core::ptr::null_mut(), len + 2 * PAGE, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(all, libc::MAP_FAILED);
            let start = all.cast::<u8>().add(PAGE);
            assert_eq!(libc::mprotect(start.cast(), len, libc::PROT_READ | libc::PROT_WRITE), 0);
            start
        };
        Self { start, len }
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: these pages are mapped and zero at first, and belong to this value alone.
        unsafe { core::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl Drop for Fenced {
    fn drop(&mut self) {
        // SAFETY: `new` mapped these pages, and nothing borrows them any more.
        unsafe { libc::munmap(self.start.sub(PAGE).cast(), self.len + 2 * PAGE) };
    }
}

#[test]
fn nothing_outside_of_a_text_is_touched() {
    if !is_available() {
        return;
    }
    let key = Key::with_backend(&[9; 32], Backend::Avx512);
    for len in (0..70).chain([127, 128, 129, 255, 256, 300, 1420, 4000, 9000]) {
        for count in [1, 2, 4, 8, 16] {
            let each = len + TAG_LEN;
            let mut fenced = Fenced::new(each * count);
            let room = fenced.len - each * count;
            for start in [0, room] {
                let places: Vec<_> = (0..count)
                    .map(|i| Place {
                        start: start + each * i,
                        len,
                        nonce: [0, 0, 1],
                    })
                    .collect();
                let bytes = fenced.bytes();
                bytes.fill(0x11);
                key.seal_group(bytes, &places);
                assert_eq!(u32::from(key.open_group(bytes, &places)), (1 << count) - 1);
                // Tags were written; all else is as it was.
                let outside = bytes[..start].iter().chain(&bytes[start + each * count..]);
                let mut texts = places.iter().flat_map(|place| &bytes[place.start..][..len]);
                assert!(outside.chain(&mut texts).all(|&byte| byte == 0x11), "{len} {count}");
            }
        }
    }
}
