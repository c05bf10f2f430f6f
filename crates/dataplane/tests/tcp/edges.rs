//! The corners of the state machine, one script each.

use std::time::Duration;

use dataplane::netstack::tcp::{Config, Connection, End, Keepalive, Options, State, Timestamps};

use crate::script::{
    ACK, FIN, PSH, RST, SYN, Stage,
    Step::{self, *},
    plain, selective,
};

const SYN_ACK: u8 = SYN | ACK;
const RST_ACK: u8 = RST | ACK;

/// Where a sequence number of zero lies, in the count of the scripts.
const ZERO: u32 = 301;

fn config() -> Config {
    Config {
        time_wait: Duration::from_secs(2),
        give_up: Duration::from_secs(60),
        ..Config::ipv4(1420)
    }
}

/// A client that has connected.
const OPEN: [Step; 5] = [
    In(SYN, 0, 0, 0),
    Quiet,
    Dialled,
    Out(SYN_ACK, 0, 1, 0),
    In(ACK, 1, 1, 0),
];

fn play(options: Options, scripts: &[(&str, &[Step])]) {
    for (story, steps) in scripts {
        let mut stage = Stage::new(options, config());
        stage.play(story, &OPEN);
        stage.play(story, steps);
    }
}

#[test]
fn a_connection_opens_only_when_the_outside_stands() {
    let scripts: [(&str, &[Step]); 9] = [
        (
            "refused",
            &[
                In(SYN, 0, 0, 0),
                Quiet,
                Is(State::Dialling),
                Abort,
                Out(RST_ACK, ZERO, 1, 0),
                Ended(End::Aborted),
            ],
        ),
        (
            "repeated SYN while dialling",
            &[
                In(SYN, 0, 0, 0),
                In(SYN, 0, 0, 0),
                Quiet,
                Dialled,
                Out(SYN_ACK, 0, 1, 0),
                Quiet,
            ],
        ),
        (
            "reset while dialling",
            &[In(SYN, 0, 0, 0), In(RST, 1, 0, 0), Quiet, Ended(End::Reset)],
        ),
        (
            "foreign reset while dialling",
            &[In(SYN, 0, 0, 0), In(RST, 9, 0, 0), Quiet, Is(State::Dialling)],
        ),
        (
            "our SYN is repeated, and given up",
            &[
                In(SYN, 0, 0, 0),
                Dialled,
                Out(SYN_ACK, 0, 1, 0),
                Wait(1001),
                Out(SYN_ACK, 0, 1, 0),
                Wait(2001),
                Out(SYN_ACK, 0, 1, 0),
                In(SYN, 0, 0, 0),
                Out(SYN_ACK, 0, 1, 0),
                Skip,
                Wait(100_000),
                Ended(End::TimedOut),
            ],
        ),
        (
            "data with the SYN comes again later",
            &[
                In(SYN, 0, 0, 50),
                Dialled,
                Out(SYN_ACK, 0, 1, 0),
                Read(0),
                In(PSH, 1, 1, 50),
                Out(ACK, 1, 51, 0),
                Is(State::Established),
                Read(50),
            ],
        ),
        (
            "an acknowledgement of something else is answered with a reset",
            &[
                In(SYN, 0, 0, 0),
                Dialled,
                Out(SYN_ACK, 0, 1, 0),
                In(ACK, 1, 7, 0),
                Out(RST, 7, 0, 0),
                Is(State::SynReceived),
                In(ACK, 1, 1, 0),
                Is(State::Established),
            ],
        ),
        (
            "data with the last segment of the handshake, and a FIN",
            &[
                In(SYN, 0, 0, 0),
                Dialled,
                Out(SYN_ACK, 0, 1, 0),
                In(FIN, 1, 1, 30),
                Out(ACK, 1, 32, 0),
                Is(State::CloseWait),
                Read(30),
            ],
        ),
        (
            "the outside speaks first",
            &[
                In(SYN, 0, 0, 0),
                Dialled,
                Out(SYN_ACK, 0, 1, 0),
                Write(40),
                Quiet,
                In(ACK, 1, 1, 0),
                Out(PSH, 1, 1, 40),
                Quiet,
            ],
        ),
    ];
    for (story, steps) in scripts {
        Stage::new(plain(), config()).play(story, steps);
    }
}

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
fn impossible_segments_are_answered_and_change_nothing() {
    play(
        plain(),
        &[
            (
                "an acknowledgement of what was not sent",
                &[In(ACK, 1, 500, 0), Out(ACK, 1, 1, 0)],
            ),
            (
                "its data is not taken",
                &[In(PSH, 1, 500, 10), Out(ACK, 1, 1, 0), Read(0)],
            ),
            (
                "an absurdly old acknowledgement",
                &[In(PSH, 1, 0x9000_0000, 10), Out(ACK, 1, 1, 0), Read(0)],
            ),
            ("without ACK", &[In(0, 1, 0, 10), Quiet, Read(0)]),
            (
                "behind the window",
                &[In(PSH, 100_000, 1, 10), Out(ACK, 1, 1, 0), Read(0)],
            ),
            ("a question before the window", &[In(ACK, 0, 1, 0), Out(ACK, 1, 1, 0)]),
            ("all flags at once", &[In(0xff, 1, 1, 10), Quiet, Ended(End::Reset)]),
            (
                "repeated data",
                &[
                    In(PSH, 1, 1, 10),
                    Out(ACK, 1, 11, 0),
                    In(PSH, 1, 1, 10),
                    Out(ACK, 1, 11, 0),
                    Read(10),
                ],
            ),
            (
                "overlapping data",
                &[In(PSH, 1, 1, 10), Skip, In(PSH, 6, 1, 10), Out(ACK, 1, 16, 0), Read(15)],
            ),
            (
                "more than the window",
                &[In(PSH, 1, 1, 65_535), Out(ACK, 1, 65_536, 0), Read(65_535)],
            ),
        ],
    );
    let mut stage = Stage::new(plain(), config());
    stage.play("answers are rationed", &OPEN);
    for _ in 0..10 {
        stage.play("answers are rationed", &[In(ACK, 1, 500, 0), Out(ACK, 1, 1, 0)]);
    }
    stage.play(
        "answers are rationed",
        &[
            In(ACK, 1, 500, 0),
            Quiet,
            Wait(1000),
            In(ACK, 1, 500, 0),
            Out(ACK, 1, 1, 0),
        ],
    );
}

#[test]
fn a_closed_window_is_probed_for_ever_and_never_lost() {
    play(
        plain(),
        &[
            (
                "closed, probed, opened",
                &[
                    Win(ACK, 1, 1, 0, 500),
                    Write(1500),
                    Quiet,
                    Wait(201),
                    Out(ACK, 1, 1, 500),
                    Win(ACK, 1, 501, 0, 0),
                    Quiet,
                    Wait(250),
                    Out(ACK, 500, 1, 0),
                    In(ACK, 1, 501, 0),
                    Quiet,
                    Wait(400),
                    Out(ACK, 500, 1, 0),
                    In(ACK, 1, 501, 0),
                    Quiet,
                    Win(ACK, 1, 501, 0, 60_000),
                    Out(PSH, 501, 1, 1000),
                    In(ACK, 1, 1501, 0),
                    Wait(200_000),
                ],
            ),
            (
                "a silly window is not filled before its time",
                &[
                    Win(ACK, 1, 1, 0, 2000),
                    Write(3000),
                    Out(ACK, 1, 1, 1000),
                    Out(ACK, 1001, 1, 1000),
                    Win(ACK, 1, 2001, 0, 3),
                    Quiet,
                    Wait(500),
                    Out(ACK, 2001, 1, 3),
                    Win(ACK, 1, 2004, 0, 2000),
                    Out(PSH, 2004, 1, 997),
                ],
            ),
            (
                "a FIN waits for room too",
                &[
                    Win(ACK, 1, 1, 0, 100),
                    Write(100),
                    Out(PSH, 1, 1, 100),
                    Win(ACK, 1, 101, 0, 0),
                    Finish,
                    Quiet,
                    Wait(500),
                    Out(ACK, 100, 1, 0),
                    Win(ACK, 1, 101, 0, 1000),
                    Out(FIN, 101, 1, 0),
                ],
            ),
        ],
    );
    let mut stage = Stage::new(plain(), config());
    stage.play("patience", &OPEN);
    stage.play("patience", &[Win(ACK, 1, 1, 0, 0), Write(10)]);
    for _ in 0..60 {
        stage.play(
            "patience",
            &[Wait(30_000), Skip, In(ACK, 1, 1, 0), Skip, Is(State::Established)],
        );
    }
    stage.play("but silence ends it", &[Wait(200_000), Ended(End::TimedOut)]);
}

#[test]
fn our_own_window_closes_and_opens_again() {
    let mut stage = Stage::new(
        Options {
            window_scale: Some(0),
            ..plain()
        },
        config(),
    );
    stage.play("window", &OPEN);
    let mut at = 1;
    for _ in 0..200 {
        stage.play("window", &[In(PSH, at, 1, 1000), Skip]);
        at += 1000;
    }
    let taken = stage
        .connection
        .as_ref()
        .map_or(0, |connection| connection.readable().0.len());
    assert!((120_000..=131_072).contains(&taken), "{taken}");
    let end = 1 + u32::try_from(taken).expect("small");
    let news = Out(ACK, 1, end, 0);
    stage.play("window", &[In(ACK, end - 1, 1, 0), news, Read(taken), news, Quiet]);
}

#[test]
fn losses_are_repaired() {
    play(
        plain(),
        &[
            (
                "three duplicates, without selective acknowledgements",
                &[
                    Write(5000),
                    Skip,
                    In(ACK, 1, 1001, 0),
                    In(ACK, 1, 1001, 0),
                    In(ACK, 1, 1001, 0),
                    Quiet,
                    In(ACK, 1, 1001, 0),
                    Out(ACK, 1001, 1, 1000),
                    Quiet,
                    In(ACK, 1, 3001, 0),
                    Out(ACK, 3001, 1, 1000),
                    In(ACK, 1, 5001, 0),
                    Quiet,
                    Wait(100_000),
                ],
            ),
            (
                "silence",
                &[
                    Write(2000),
                    Skip,
                    Wait(250),
                    Out(ACK, 1, 1, 1000),
                    Quiet,
                    Wait(450),
                    Out(ACK, 1, 1, 1000),
                    In(ACK, 1, 1001, 0),
                    Out(PSH, 1001, 1, 1000),
                    In(ACK, 1, 2001, 0),
                    Quiet,
                ],
            ),
            ("nobody there", &[Write(10), Skip, Wait(150_000), Ended(End::TimedOut)]),
            (
                "a smaller path",
                &[
                    Write(3000),
                    Skip,
                    Mss(600),
                    Out(ACK, 1, 1, 600),
                    Skip,
                    In(ACK, 1, 601, 0),
                ],
            ),
        ],
    );
    play(
        selective(),
        &[
            (
                "a hole is filled once",
                &[
                    Write(6000),
                    Skip,
                    Wait(1),
                    Sack(1, (1001, 4001)),
                    Out(ACK, 1, 1, 1000),
                    Quiet,
                    Sack(1, (1001, 6001)),
                    Quiet,
                    In(ACK, 1, 6001, 0),
                    Quiet,
                    Wait(100_000),
                ],
            ),
            (
                "a lost tail is probed for",
                &[
                    Write(3000),
                    Skip,
                    In(ACK, 1, 1001, 0),
                    Wait(100),
                    Out(PSH, 2001, 1, 1000),
                    Sack(1001, (2001, 3001)),
                    Wait(2),
                    Out(ACK, 1001, 1, 1000),
                ],
            ),
            (
                "a peer that drops what it held gets it again",
                &[
                    Write(3000),
                    Skip,
                    Sack(1, (1001, 3001)),
                    Skip,
                    In(ACK, 1, 1001, 0),
                    Out(ACK, 1001, 1, 1000),
                    Out(PSH, 2001, 1, 1000),
                ],
            ),
            (
                "nonsense blocks",
                &[
                    Write(1000),
                    Skip,
                    Sack(1, (5, 2)),
                    Sack(1, (500, 9000)),
                    Sack(1, (1, 1)),
                    Sack(1, (0x9000_0000, 0x9000_0001)),
                    Quiet,
                ],
            ),
        ],
    );
}

#[test]
fn old_clocks_are_refused() {
    let options = Options {
        timestamps: Some(Timestamps { value: 1000, echo: 0 }),
        ..plain()
    };
    let open = [
        In(SYN, 0, 0, 0),
        Dialled,
        Out(SYN_ACK, 0, 1, 0),
        Clock(ACK, 1, 1, 0, 1001),
    ];
    let scripts: [(&str, &[Step]); 4] = [
        ("newer", &[Clock(PSH, 1, 1, 5, 1001), Out(ACK, 1, 6, 0), Read(5)]),
        ("older", &[Clock(PSH, 1, 1, 5, 999), Out(ACK, 1, 1, 0), Read(0)]),
        (
            "across the wrap",
            &[
                Clock(PSH, 1, 1, 5, 0x7fff_ffff),
                Skip,
                Clock(PSH, 6, 1, 5, 0xffff_fff0),
                Skip,
                Clock(PSH, 11, 1, 5, 7),
                Skip,
                Read(15),
            ],
        ),
        ("none", &[In(PSH, 1, 1, 5), Out(ACK, 1, 6, 0), Read(5)]),
    ];
    for (story, steps) in scripts {
        let mut stage = Stage::new(options, config());
        stage.play(story, &open);
        stage.play(story, steps);
    }
}

#[test]
fn an_idle_client_is_asked_whether_it_is_there() {
    let keepalive = Keepalive {
        idle: Duration::from_secs(60),
        interval: Duration::from_secs(10),
        probes: 2,
    };
    let mut stage = Stage::new(
        plain(),
        Config {
            keepalive: Some(keepalive),
            ..config()
        },
    );
    stage.play("alive", &OPEN);
    stage.play(
        "alive",
        &[Wait(60_000), Out(ACK, 0, 1, 0), In(ACK, 1, 1, 0), Wait(59_000), Quiet],
    );
    stage.play(
        "dead",
        &[
            Wait(1000),
            Out(ACK, 0, 1, 0),
            Wait(10_000),
            Out(ACK, 0, 1, 0),
            Wait(10_000),
        ],
    );
    stage.play("dead", &[Out(RST_ACK, 1, 1, 0), Ended(End::TimedOut)]);
}

#[test]
fn selective_blocks_are_given_only_to_those_who_asked() {
    for (options, blocks) in [(plain(), 0), (selective(), 1)] {
        let mut stage = Stage::new(options, config());
        stage.play("blocks", &OPEN);
        stage.play("blocks", &[In(PSH, 11, 1, 10)]);
        assert_eq!(stage.last_options().sack.as_slice().len(), blocks);
    }
}

#[test]
fn a_new_syn_may_take_the_place_of_what_is_over() {
    use dataplane::netstack::tcp::{Flags, Segment, Seq};
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

#[test]
fn an_idle_flow_is_small() {
    let mut stage = Stage::new(plain(), config());
    stage.play("small", &OPEN);
    stage.play(
        "small",
        &[
            In(PSH, 1, 1, 1000),
            Read(1000),
            Write(5000),
            Skip,
            In(ACK, 1001, 5001, 0),
        ],
    );
    let memory = |stage: &Stage| stage.connection.as_ref().map_or(0, Connection::memory);
    assert!(memory(&stage) > 0);
    stage.play("small", &[Wait(1100), Quiet]);
    assert_eq!(memory(&stage), 0);
    assert!(size_of::<Connection>() < 1500, "{}", size_of::<Connection>());
    stage.play(
        "and goes on",
        &[
            In(PSH, 1001, 5001, 10),
            Skip,
            Read(10),
            Write(10),
            Skip,
            In(ACK, 1011, 5011, 0),
        ],
    );
}
