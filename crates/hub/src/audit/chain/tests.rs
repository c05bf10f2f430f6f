//! Chains that are whole, and every way in which one can be broken.

use super::*;

fn chain(length: u64) -> Vec<Row> {
    let mut previous = Hash::default();
    (1..=length)
        .map(|number| {
            let mut row = Row {
                number,
                at: Moment::from_millis(1_795_000_000_000 + number),
                who: "local".to_owned(),
                what: "lease.create".to_owned(),
                on: format!("lease {number}"),
                outcome: "ok".to_owned(),
                detail: String::new(),
                request_id: "r".to_owned(),
                address: "192.0.2.1".to_owned(),
                previous,
                hash: Hash::default(),
            };
            row.hash = row.computed();
            previous = row.hash;
            row
        })
        .collect()
}

fn walk(rows: &[Row], known: &[Head]) -> Result<Head, Broken> {
    walk_from(Head::default(), rows, known).map(|whole| whole.head)
}

fn walk_from(from: Head, rows: &[Row], known: &[Head]) -> Result<Whole, Broken> {
    let mut walk = Walk::new(from, known.iter().copied())?;
    rows.iter().try_for_each(|row| walk.step(row))?;
    walk.end()
}

fn head(rows: &[Row]) -> Head {
    walk(rows, &[]).unwrap()
}

#[test]
fn a_whole_chain_has_a_head() {
    assert_eq!(head(&[]), Head::default());
    let rows = chain(5);
    assert_eq!(head(&rows).count, 5);
    assert_eq!(head(&rows).hash, rows[4].hash);
    // Heads that were noted earlier lie on it.
    assert_eq!(walk(&rows, &[head(&rows[..2]), head(&rows)]), Ok(head(&rows)));
}

#[test]
fn the_first_broken_row_is_named() {
    type Harm = fn(&mut Vec<Row>);
    // Makes all hashes from a row on anew, as somebody would who knows how.
    fn mend(rows: &mut [Row], from: usize) {
        for at in from..rows.len() {
            rows[at].previous = at.checked_sub(1).map_or(Hash::default(), |before| rows[before].hash);
            rows[at].number = at as u64 + 1;
            rows[at].hash = rows[at].computed();
        }
    }
    let noted = head(&chain(5));
    let table: [(&str, Harm, Option<Broken>, Option<Broken>); 11] = [
        ("nothing", |_| (), None, None),
        (
            "who",
            |rows| rows[2].who = "x".into(),
            Some(Broken::Changed { number: 3 }),
            Some(Broken::Changed { number: 3 }),
        ),
        (
            "when",
            |rows| rows[2].at = Moment::from_millis(1),
            Some(Broken::Changed { number: 3 }),
            Some(Broken::Changed { number: 3 }),
        ),
        (
            // The same bytes, divided otherwise.
            "a letter that moved to the next value",
            |rows| {
                rows[2].who = "loca".into();
                rows[2].what = "llease.create".into();
            },
            Some(Broken::Changed { number: 3 }),
            Some(Broken::Changed { number: 3 }),
        ),
        (
            "a row whose own hash was made anew",
            |rows| {
                rows[2].outcome = "refused".into();
                rows[2].hash = rows[2].computed();
            },
            Some(Broken::Unlinked { number: 4 }),
            Some(Broken::Unlinked { number: 4 }),
        ),
        (
            "removed in the middle",
            |rows| drop(rows.remove(2)),
            Some(Broken::Missing { number: 3 }),
            Some(Broken::Missing { number: 3 }),
        ),
        (
            "removed at the start",
            |rows| drop(rows.remove(0)),
            Some(Broken::Missing { number: 1 }),
            Some(Broken::Missing { number: 1 }),
        ),
        (
            "removed at the end",
            |rows| rows.truncate(3),
            None,
            Some(Broken::Truncated { count: 3, known: 5 }),
        ),
        (
            "emptied",
            Vec::clear,
            None,
            Some(Broken::Truncated { count: 0, known: 5 }),
        ),
        (
            "two rows changed places",
            |rows| rows.swap(1, 2),
            Some(Broken::Missing { number: 2 }),
            Some(Broken::Missing { number: 2 }),
        ),
        (
            "written anew from a row on",
            |rows| {
                rows.remove(1);
                rows.push(rows[3].clone());
                mend(rows, 1);
            },
            None,
            Some(Broken::Rewritten { number: 5 }),
        ),
    ];
    for (what, harm, alone, with_head) in table {
        let mut rows = chain(5);
        harm(&mut rows);
        assert_eq!(walk(&rows, &[]).err(), alone, "{what}, alone");
        assert_eq!(
            walk(&rows, &[noted]).err(),
            with_head,
            "{what}, with a head that was noted"
        );
    }
}

#[test]
fn a_pruned_chain_goes_on_from_its_last_pruned_row_if_a_row_says_so() {
    let mut rows = chain(6);
    let [early, from] = [2, 3].map(|count| head(&rows[..count]));
    let foreign = Head {
        hash: rows[0].hash,
        ..from
    };
    // (what, on, known, found)
    let whole = |rows: &[Row]| {
        let last = &rows[5];
        Ok(Whole {
            from,
            head: Head {
                count: 6,
                hash: last.hash,
            },
        })
    };
    let pruned = Err(Broken::Pruned { known: 2, count: 3 });
    for (what, on, known, expected) in [
        (PRUNE, from, None, None),
        (PRUNE, from, Some(from), None),
        (PRUNE, from, Some(early), Some(pruned)),
        (PRUNE, from, Some(foreign), Some(Err(Broken::Rewritten { number: 3 }))),
        (PRUNE, foreign, None, Some(Err(Broken::Beheaded { count: 3 }))),
        ("lease.end", from, None, Some(Err(Broken::Beheaded { count: 3 }))),
    ] {
        (rows[5].what, rows[5].on) = (what.to_owned(), on.to_string());
        rows[5].hash = rows[5].computed();
        let expected = expected.unwrap_or_else(|| whole(&rows));
        let known: Vec<Head> = known.into_iter().collect();
        assert_eq!(walk_from(from, &rows[3..], &known), expected, "{what} {on} {known:?}");
    }
    assert_eq!(whole(&rows).map(|whole| whole.rows()), Ok(3));
}

#[test]
fn a_row_and_a_head_are_read_as_they_are_written() {
    let rows = chain(2);
    let text = serde_json::to_string(&rows[1]).unwrap();
    assert_eq!(serde_json::from_str::<Row>(&text).unwrap(), rows[1]);
    let head = head(&rows);
    assert_eq!(head.to_string().parse(), Ok(head));
    for wrong in ["", "5", "5:", "x:00", "5:zz", "-1:00", &format!("5:{}", "é".repeat(32))] {
        assert!(wrong.parse::<Head>().is_err(), "{wrong}");
    }
}

#[test]
fn the_hash_of_a_row_is_the_documented_one() {
    // Computed by another program from the description at the top of this file.
    let rows = chain(1);
    assert_eq!(
        rows[0].hash.to_string(),
        "ba33d424ff284dbdfa8245917df34b50c35625a233571227e268de251856f315"
    );
}
