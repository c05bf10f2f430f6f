//! How connections end, and what may follow them, one script each.

use dataplane::netstack::tcp::{End, Flags, Options, Segment, Seq, State};

use crate::{
    edges::{config, play},
    script::{
        ACK, FIN, PSH, RST, RST_ACK, SYN, Stage,
        Step::{self, *},
        plain,
    },
};

#[test]
fn both_directions_close_in_every_order() {
    play(
        plain(),
        &[
            (
                "the client first",
                &[
                    In(FIN, 1, 1, 10),
                    Out(ACK, 1, 12, 0),
                    Is(State::CloseWait),
                    Read(10),
                    Write(100),
                    Out(PSH, 1, 12, 100),
                    In(ACK, 12, 101, 0),
                    Finish,
                    Out(FIN, 101, 12, 0),
                    Is(State::LastAck),
                    In(ACK, 12, 102, 0),
                    Ended(End::Finished),
                    Quiet,
                ],
            ),
            (
                "we first",
                &[
                    Write(100),
                    Finish,
                    Out(PSH, 1, 1, 100),
                    Out(FIN, 101, 1, 0),
                    Is(State::FinWait1),
                    In(ACK, 1, 102, 0),
                    Is(State::FinWait2),
                    In(PSH, 1, 102, 20),
                    Quiet,
                    Wait(26),
                    Out(ACK, 102, 21, 0),
                    Read(20),
                    In(FIN, 21, 102, 0),
                    Out(ACK, 102, 22, 0),
                    Is(State::TimeWait),
                    In(FIN, 21, 102, 0),
                    Out(ACK, 102, 22, 0),
                    Wait(2001),
                    Ended(End::Finished),
                ],
            ),
            (
                "both at once",
                &[
                    Finish,
                    Out(FIN, 1, 1, 0),
                    In(FIN, 1, 1, 0),
                    Out(ACK, 2, 2, 0),
                    Is(State::Closing),
                    In(ACK, 2, 2, 0),
                    Is(State::TimeWait),
                    Wait(2001),
                    Ended(End::Finished),
                ],
            ),
            (
                "a FIN that also acknowledges ours",
                &[
                    Finish,
                    Out(FIN, 1, 1, 0),
                    In(FIN, 1, 2, 0),
                    Out(ACK, 2, 2, 0),
                    Is(State::TimeWait),
                ],
            ),
            (
                "data and FIN in one segment",
                &[
                    Write(10),
                    Skip,
                    In(ACK, 1, 11, 0),
                    Finish,
                    Out(FIN, 11, 1, 0),
                    Wait(1500),
                    Out(FIN, 11, 1, 0),
                ],
            ),
            (
                "a FIN that comes early waits for the data before it",
                &[
                    In(FIN, 11, 1, 10),
                    Out(ACK, 1, 1, 0),
                    Is(State::Established),
                    In(ACK, 1, 1, 10),
                    Out(ACK, 1, 22, 0),
                    Is(State::CloseWait),
                    Read(20),
                ],
            ),
            (
                "data behind the FIN is ignored",
                &[
                    In(FIN, 1, 1, 10),
                    Skip,
                    In(PSH, 12, 1, 10),
                    Out(ACK, 1, 12, 0),
                    Read(10),
                    In(FIN, 1, 1, 10),
                    Out(ACK, 1, 12, 0),
                ],
            ),
            (
                "a lost last acknowledgement is given again",
                &[
                    In(FIN, 1, 1, 0),
                    Out(ACK, 1, 2, 0),
                    In(FIN, 1, 1, 0),
                    Out(ACK, 1, 2, 0),
                    Is(State::CloseWait),
                ],
            ),
        ],
    );
}

#[test]
fn a_reset_counts_only_at_the_exact_place() {
    play(
        plain(),
        &[
            ("exact", &[In(RST, 1, 0, 0), Quiet, Ended(End::Reset)]),
            (
                "exact, with data unread",
                &[
                    In(PSH, 1, 1, 9),
                    Skip,
                    In(RST_ACK, 10, 1, 0),
                    Ended(End::Reset),
                    Read(9),
                ],
            ),
            (
                "in the window",
                &[In(RST, 2, 0, 0), Out(ACK, 1, 1, 0), Is(State::Established)],
            ),
            (
                "behind the window",
                &[In(RST, 200_000, 0, 0), Quiet, Is(State::Established)],
            ),
            (
                "old",
                &[In(PSH, 1, 1, 9), Skip, In(RST, 1, 0, 0), Quiet, Is(State::Established)],
            ),
            (
                "a SYN in the window",
                &[In(SYN, 5, 0, 0), Out(ACK, 1, 1, 0), Is(State::Established)],
            ),
            (
                "the first SYN again",
                &[In(SYN, 0, 0, 0), Out(ACK, 1, 1, 0), Is(State::Established)],
            ),
            (
                "in TIME-WAIT",
                &[
                    Finish,
                    Skip,
                    In(FIN, 1, 2, 0),
                    Skip,
                    In(RST, 2, 0, 0),
                    Quiet,
                    Ended(End::Finished),
                ],
            ),
            (
                "of ours",
                &[
                    Write(10),
                    Skip,
                    Abort,
                    Out(RST_ACK, 11, 1, 0),
                    Quiet,
                    Ended(End::Aborted),
                    In(ACK, 1, 11, 0),
                    Quiet,
                ],
            ),
        ],
    );
}

#[test]
fn a_new_syn_may_take_the_place_of_what_is_over() {
    let syn = |seq: u32| Segment {
        source_port: 1,
        destination_port: 2,
        seq: Seq(u32::MAX - 100) + seq,
        ack: Seq(0),
        flags: Flags(SYN),
        window: 100,
        options: Options::default(),
        payload: &[],
    };
    // (script after the SYN, position of the new SYN, replaced?)
    let cases: [(&[Step], u32, bool); 7] = [
        (&[], 0, false),
        (&[], 77, true),
        (&[Abort], 77, true),
        (&[Dialled, In(ACK, 1, 1, 0)], 77, false),
        (&[Dialled, In(ACK, 1, 1, 0), Finish, In(FIN, 1, 2, 0)], 77, true),
        (&[Dialled, In(ACK, 1, 1, 0), Finish, In(FIN, 1, 2, 0)], 1, false),
        (
            &[Dialled, In(ACK, 1, 1, 0), Finish, In(FIN, 1, 2, 0), Wait(3000)],
            1,
            true,
        ),
    ];
    for (steps, seq, replaced) in cases {
        let mut stage = Stage::new(plain(), config());
        stage.play("replacement", &[In(SYN, 0, 0, 0)]);
        stage.play("replacement", steps);
        let connection = stage.connection.as_ref();
        assert_eq!(
            connection.map(|connection| connection.may_be_replaced_by(&syn(seq))),
            Some(replaced),
            "{steps:?}"
        );
    }
}
