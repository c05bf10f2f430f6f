//! The audit in a database: growing, verified, exported, on a disk that is full.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use launch::{Clock, Moment, store::sqlite::Database};

use super::{Audit, Broken, Entry, Head, PruneError, Pruned, VerifyError, Whole, verify_lines};

fn database() -> Arc<Database> {
    Arc::new(Database::in_memory().unwrap())
}

fn audit(database: &Arc<Database>) -> Audit {
    Audit::open(Arc::clone(database), Clock::system()).unwrap()
}

fn entry(what: &'static str) -> Entry {
    Entry {
        who: "local".to_owned(),
        what,
        on: "01kb2w0v9hq3k1yv8s4n6t2m5e".to_owned(),
        outcome: "ok",
        detail: "line\n\"two\"".to_owned(),
        request_id: "request-1".to_owned(),
        address: Some("192.0.2.1".parse().unwrap()),
    }
}

fn run<T>(database: &Database, sql: &str, value: T) -> rusqlite::Result<usize>
where
    T: rusqlite::Params,
{
    database.write(|transaction| transaction.execute(sql, value))
}

/// Makes the database refuse to grow, as a full disk does.
fn fill(database: &Database, is_full: bool) {
    let pages: i64 = database
        .read(|c| c.pragma_query_value(None, "page_count", |row| row.get(0)))
        .unwrap();
    let most = if is_full { pages } else { 1 << 30 };
    database
        .read(|c| c.pragma_update_and_check(None, "max_page_count", most, |_| Ok(())))
        .unwrap();
}

#[tokio::test]
async fn what_is_recorded_is_read_verified_and_exported() {
    let database = database();
    let audit = audit(&database);
    assert_eq!(audit.verify(&[]).unwrap(), Whole::default());
    for what in ["session.begin", "lease.create", "session.end"] {
        audit.record(entry(what)).await;
    }
    let newest = audit.page(None, 2).await.unwrap();
    assert_eq!(
        newest
            .iter()
            .map(|row| (row.number, row.what.as_str()))
            .collect::<Vec<_>>(),
        [(3, "session.end"), (2, "lease.create")]
    );
    assert_eq!(audit.page(Some(2), 10).await.unwrap().len(), 1);

    let mut lines = Vec::new();
    let head = audit.export(&mut lines).unwrap().head;
    assert_eq!(head.count, 3);
    assert_eq!(audit.verify(&[head]).unwrap().head, head);
    assert_eq!(verify_lines(lines.as_slice(), &[head]).unwrap().head, head);
    // Each row is a line, whatever is in it.
    assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), 3);

    // A restart goes on where the last run ended.
    let again = self::audit(&database);
    again.record(entry("lease.end")).await;
    assert_eq!(again.verify(&[head]).unwrap().head.count, 4);
}

#[tokio::test]
async fn the_table_refuses_what_is_not_an_addition_at_the_end() {
    let database = database();
    let audit = audit(&database);
    for _ in 0..3 {
        audit.record(entry("lease.create")).await;
    }
    let columns = "(2, 0, '', '', '', '', '', '', '', zeroblob(32), zeroblob(32))";
    for statement in [
        "UPDATE audit SET who = 'x' WHERE number = 2",
        "DELETE FROM audit WHERE number = 3",
        "DELETE FROM audit",
        &format!("INSERT INTO audit VALUES {columns}"),
        &format!("INSERT OR REPLACE INTO audit VALUES {columns}"),
        &format!("REPLACE INTO audit VALUES {columns}"),
        &format!("INSERT INTO audit VALUES {columns} ON CONFLICT DO UPDATE SET who = 'x'"),
        "UPDATE audit_head SET count = 2",
        "DELETE FROM audit_head",
        "INSERT OR REPLACE INTO audit_head VALUES (1, 0, zeroblob(32))",
        "DELETE FROM audit WHERE number = 1",
        "UPDATE audit_pruned SET count = 1",
        "UPDATE audit_pruned SET count = 3, hash = (SELECT hash FROM audit WHERE number = 3)",
        "UPDATE audit_pruned SET count = 9, hash = NULL",
        "DELETE FROM audit_pruned",
        "INSERT OR REPLACE INTO audit_pruned VALUES (1, 2, zeroblob(32))",
    ] {
        assert!(run(&database, statement, []).is_err(), "{statement}");
    }
    assert_eq!(audit.verify(&[]).unwrap().rows(), 3);
}

#[tokio::test]
async fn whoever_drops_the_triggers_is_found_out() {
    let cases: [(&str, &[&str], Broken); 4] = [
        (
            "changed",
            &[
                "DROP TRIGGER audit_is_not_changed",
                "UPDATE audit SET outcome = 'refused' WHERE number = 2",
            ],
            { Broken::Changed { number: 2 } },
        ),
        (
            "removed",
            &[
                "DROP TRIGGER audit_loses_what_is_pruned",
                "DELETE FROM audit WHERE number = 2",
            ],
            { Broken::Missing { number: 2 } },
        ),
        (
            "cut",
            &[
                "DROP TRIGGER audit_loses_what_is_pruned",
                "DELETE FROM audit WHERE number > 1",
            ],
            { Broken::Truncated { count: 1, known: 3 } },
        ),
        (
            "beheaded, with a note of pruned rows and without a row about them",
            &[
                "UPDATE audit_pruned SET count = 1, hash = (SELECT hash FROM audit WHERE number = 1)",
                "DELETE FROM audit WHERE number = 1",
            ],
            { Broken::Beheaded { count: 1 } },
        ),
    ];
    for (what, statements, broken) in cases {
        let database = database();
        let audit = audit(&database);
        for _ in 0..3 {
            audit.record(entry("lease.create")).await;
        }
        for statement in statements {
            run(&database, statement, []).unwrap();
        }
        assert!(
            matches!(audit.verify(&[]), Err(VerifyError::Broken(found)) if found == broken),
            "{what}"
        );
        // An export of it says the same.
        assert!(
            matches!(audit.export(&mut Vec::new()), Err(VerifyError::Broken(found)) if found == broken),
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_cut_together_with_its_note_is_found_by_a_head_that_was_kept_elsewhere() {
    let database = database();
    let audit = audit(&database);
    for _ in 0..3 {
        audit.record(entry("lease.create")).await;
    }
    let kept = audit.export(&mut Vec::new()).unwrap().head;
    for statement in [
        "DROP TRIGGER audit_loses_what_is_pruned",
        "DROP TRIGGER audit_head_goes_on",
        "DELETE FROM audit WHERE number = 3",
        "UPDATE audit_head SET count = 2, hash = (SELECT hash FROM audit WHERE number = 2)",
    ] {
        run(&database, statement, []).unwrap();
    }
    assert_eq!(audit.verify(&[]).unwrap().rows(), 2);
    assert!(matches!(
        audit.verify(&[kept]),
        Err(VerifyError::Broken(Broken::Truncated { count: 2, known: 3 }))
    ));
}

#[tokio::test]
async fn an_action_has_a_row_before_and_a_row_after() {
    let audit = audit(&database());
    let intent = audit.intend(entry("lease.create")).await.unwrap();
    intent
        .done_on(Some("lease-1".to_owned()), "ok", "on `local` for 30m")
        .await;
    drop(audit.intend(entry("lease.end")).await.unwrap());
    audit.is_well().await.unwrap();
    let rows = audit.page(None, 10).await.unwrap();
    let outcomes: Vec<_> = rows
        .iter()
        .rev()
        .map(|row| (row.what.as_str(), row.outcome.as_str()))
        .collect();
    assert_eq!(
        outcomes,
        [
            ("lease.create", "begun"),
            ("lease.create", "ok"),
            ("lease.end", "begun"),
            ("lease.end", "unknown")
        ]
    );
    assert_eq!(rows[2].on, "lease-1");
}

#[tokio::test]
async fn a_full_disk_refuses_actions_and_keeps_what_has_happened() {
    let database = database();
    let audit = audit(&database);
    fill(&database, true);
    // The rows of a page or two still fit.
    let mut taken = 0;
    while audit
        .intend(Entry {
            detail: "x ".repeat(400),
            ..entry("lease.create")
        })
        .await
        .map(|intent| {
            drop(intent);
            taken += 1;
        })
        .is_ok()
    {
        assert!(taken < 100, "the disk is never full");
    }
    for _ in 0..20 {
        audit
            .record(Entry {
                detail: "x ".repeat(400),
                ..entry("session.refused")
            })
            .await;
    }
    let error = audit.is_well().await.unwrap_err();
    assert!(error.contains("rows of the audit wait"), "{error}");
    assert!(audit.intend(entry("lease.create")).await.is_err());

    fill(&database, false);
    assert_eq!(audit.is_well().await, Ok(()));
    let rows = audit.page(None, 1000).await.unwrap();
    assert_eq!(rows.iter().filter(|row| row.what == "session.refused").count(), 20);
    // What was refused has left no trace of having begun.
    let begun = rows.iter().filter(|row| row.outcome == "begun").count();
    assert_eq!(
        (begun, rows.iter().filter(|row| row.outcome == "unknown").count()),
        (taken, taken)
    );
    audit.verify(&[]).unwrap();
}

#[tokio::test]
async fn many_at_once_make_one_chain() {
    let audit = audit(&database());
    let all = (0..200).map(|_| {
        let audit = audit.clone();
        tokio::spawn(async move { audit.record(entry("lease.create")).await })
    });
    for one in all.collect::<Vec<_>>() {
        tokio::time::timeout(Duration::from_secs(60), one)
            .await
            .unwrap()
            .unwrap();
    }
    assert_eq!(audit.verify(&[]).unwrap().rows(), 200);
}

#[tokio::test]
async fn a_row_holds_no_key() {
    let audit = audit(&database());
    let key = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
    audit
        .record(Entry {
            on: format!("peer {key}"),
            detail: format!("PrivateKey = {key}"),
            ..entry("peer.add")
        })
        .await;
    let mut lines = Vec::new();
    audit.export(&mut lines).unwrap();
    assert!(!String::from_utf8(lines).unwrap().contains(key));
}

/// An audit whose clock says what the test says.
fn audit_at(database: &Arc<Database>) -> (Audit, Arc<AtomicU64>) {
    let secs = Arc::new(AtomicU64::new(0));
    let (wall, boot) = (Arc::clone(&secs), Arc::clone(&secs));
    let read = |secs: &AtomicU64| Duration::from_secs(secs.load(Ordering::SeqCst));
    let clock = Clock::of(move || UNIX_EPOCH + read(&wall), move || read(&boot));
    (Audit::open(Arc::clone(database), clock).unwrap(), secs)
}

#[tokio::test]
async fn a_pruned_audit_is_still_proven_whole_and_says_from_where() {
    let database = database();
    let (audit, secs) = audit_at(&database);
    let at = |second: u64| Moment::from_millis(second * 1_000);
    for second in 1..=6 {
        secs.store(second, Ordering::SeqCst);
        audit.record(entry("lease.create")).await;
    }
    let mut before = Vec::new();
    let all = audit.export(&mut before).unwrap();
    let early: Head = {
        let row = audit.page(Some(3), 1).await.unwrap().remove(0);
        format!("{}:{}", row.number, row.hash).parse().unwrap()
    };
    assert_eq!(audit.prune(at(1)).await.unwrap(), None);
    secs.store(100, Ordering::SeqCst);
    let Pruned { rows, to } = audit.prune(at(5)).await.unwrap().unwrap();
    assert_eq!((rows, to.count), (4, 4));
    // Again changes nothing.
    assert_eq!(audit.prune(at(5)).await.unwrap(), None);
    audit.record(entry("lease.end")).await;

    let whole = audit.verify(&[all.head, to]).unwrap();
    assert_eq!((whole.from, whole.head.count, whole.rows()), (to, 8, 4));
    let told = audit.page(None, 10).await.unwrap();
    assert_eq!(told.len(), 4);
    assert_eq!(
        (told[1].what.as_str(), told[1].on.clone()),
        ("audit.prune", to.to_string())
    );
    assert!(
        told[1].detail.starts_with("rows 1 to 4, from before "),
        "{}",
        told[1].detail
    );
    // What was exported before goes through the head with which this audit begins, and so do both together.
    assert_eq!(verify_lines(before.as_slice(), &[to]).unwrap().head, all.head);
    let mut after = Vec::new();
    assert_eq!(audit.export(&mut after).unwrap(), whole);
    assert_eq!(verify_lines(after.as_slice(), &[to, all.head]).unwrap(), whole);
    assert!(matches!(
        audit.verify(&[early]),
        Err(VerifyError::Broken(Broken::Pruned { known: 2, count: 4 }))
    ));
    // A line less is missed.
    let cut = after.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    assert!(matches!(
        verify_lines(&after[cut..], &[]),
        Err(VerifyError::Broken(Broken::Beheaded { count: 5 }))
    ));

    // However old everything is, the newest row stays, and the chain goes on from it.
    secs.store(1_000_000, Ordering::SeqCst);
    let pruned = audit.prune(at(900_000)).await.unwrap().unwrap();
    assert_eq!((pruned.rows, pruned.to.count), (3, 7));
    assert_eq!(self::audit(&database).verify(&[]).unwrap().rows(), 2);
}

#[tokio::test]
async fn a_broken_audit_is_not_pruned_and_stays_as_it_is() {
    let cases: [(&str, &[&str], Broken); 2] = [
        (
            "changed",
            &[
                "DROP TRIGGER audit_is_not_changed",
                "UPDATE audit SET outcome = 'refused' WHERE number = 2",
            ],
            Broken::Changed { number: 2 },
        ),
        (
            "beheaded, with a note of pruned rows and without a row about them",
            &[
                "UPDATE audit_pruned SET count = 1, hash = (SELECT hash FROM audit WHERE number = 1)",
                "DELETE FROM audit WHERE number = 1",
            ],
            Broken::Beheaded { count: 1 },
        ),
    ];
    for (what, statements, broken) in cases {
        let database = database();
        let (audit, secs) = audit_at(&database);
        for second in 1..=4 {
            secs.store(second, Ordering::SeqCst);
            audit.record(entry("lease.create")).await;
        }
        for statement in statements {
            run(&database, statement, []).unwrap();
        }
        let rows = audit.page(None, 10).await.unwrap();
        secs.store(100, Ordering::SeqCst);
        let refused = audit.prune(Moment::from_millis(3_000)).await;
        assert!(
            matches!(refused, Err(PruneError::Verify(VerifyError::Broken(found))) if found == broken),
            "{what}"
        );
        assert_eq!(audit.page(None, 10).await.unwrap(), rows, "{what}");
    }
}

#[tokio::test]
async fn many_rows_are_pruned_in_portions_and_each_has_its_row() {
    let (audit, secs) = audit_at(&database());
    let at = |second: u64| Moment::from_millis(second * 1_000);
    for second in 1..=10 {
        secs.store(second, Ordering::SeqCst);
        audit.record(entry("lease.create")).await;
    }
    let all = audit.export(&mut Vec::new()).unwrap().head;
    secs.store(100, Ordering::SeqCst);
    let Pruned { rows, to } = audit.prune_by(3, at(9)).await.unwrap().unwrap();
    assert_eq!((rows, to.count), (8, 8));
    let whole = audit.verify(&[all, to]).unwrap();
    assert_eq!((whole.from, whole.head.count), (to, 13));
    assert_eq!(audit.count().await.unwrap(), 5);
    let told = audit.page(None, 3).await.unwrap();
    for (row, expected) in told.iter().zip(["rows 7 to 8,", "rows 4 to 6,", "rows 1 to 3,"]) {
        assert!(row.detail.starts_with(expected), "{}", row.detail);
    }
    // The rows about it are not removed in turn, though they, too, are from before.
    let Pruned { rows, to } = audit.prune_by(3, at(1_000)).await.unwrap().unwrap();
    assert_eq!((rows, to.count), (4, 12));
    assert_eq!(audit.verify(&[]).unwrap().head.count, 15);
}

#[tokio::test(start_paused = true)]
async fn refusals_fill_no_disk_and_are_counted() {
    let audit = audit(&database());
    let refused = || Entry {
        outcome: "refused",
        ..entry("request.refused")
    };
    for _ in 0..1_000 {
        audit.refuse(refused()).await;
    }
    assert_eq!(audit.verify(&[]).unwrap().rows(), 10);
    // The count comes by itself.
    let counted = async {
        while audit.verify(&[]).unwrap().rows() < 11 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(310), counted).await.unwrap();
    let row = audit.page(None, 1).await.unwrap().remove(0);
    assert_eq!(
        (row.what.as_str(), row.outcome.as_str()),
        ("request.refused", "refused")
    );
    assert!(row.detail.starts_with("990 more"), "{}", row.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_on_one_file_make_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hub.db");
    let open = || audit(&Arc::new(Database::open(&path).unwrap()));
    let (hub, command) = (open(), open());
    let all = [&hub, &command].map(|audit| {
        let audit = audit.clone();
        tokio::spawn(async move {
            for _ in 0..20 {
                audit.intend(entry("token.create")).await.unwrap().done("ok", "").await;
            }
        })
    });
    for one in all {
        tokio::time::timeout(Duration::from_secs(60), one)
            .await
            .unwrap()
            .unwrap();
    }
    assert_eq!(hub.verify(&[]).unwrap().rows(), 80);
}
