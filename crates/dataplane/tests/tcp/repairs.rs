//! Windows that close and segments that vanish, one script each.

use dataplane::netstack::tcp::{End, Options, State};

use crate::{
    edges::{OPEN, config, play},
    script::{ACK, FIN, PSH, Stage, Step::*, plain, selective},
};

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
