//! The corners of the state machine, one script each.

use std::time::Duration;

use dataplane::netstack::tcp::{Config, Connection, End, Keepalive, Options, State, Timestamps};

use crate::script::{
    ACK, FIN, PSH, RST, RST_ACK, SYN, SYN_ACK, Stage,
    Step::{self, *},
    plain, selective,
};

/// Where a sequence number of zero lies, in the count of the scripts.
const ZERO: u32 = 301;

pub(crate) fn config() -> Config {
    Config {
        time_wait: Duration::from_secs(2),
        give_up: Duration::from_secs(60),
        ..Config::ipv4(1420)
    }
}

/// A client that has connected.
pub(crate) const OPEN: [Step; 5] = [
    In(SYN, 0, 0, 0),
    Quiet,
    Dialled,
    Out(SYN_ACK, 0, 1, 0),
    In(ACK, 1, 1, 0),
];

pub(crate) fn play(options: Options, scripts: &[(&str, &[Step])]) {
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
