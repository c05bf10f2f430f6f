//! `docs/guide/azure.md`, walked through: what it says is typed, by a shell beside the fake, and what is printed is what it shows.
//!
//! In what the guide shows, `…` stands for anything within a line, and as a line of its own for any lines. A word `ID` in a
//! command is the lease that was last seen. What needs Azure's own program, or Docker's, is known by its first word and not run;
//! what `az` would have printed into a variable the fake knows.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::cloud::{Lit, quick};
use crate::needs_machines;

/// Programs that are not run, and what they are called with.
const NOT_RUN: [&str; 4] = ["az ", "docker ", "ssh-keygen ", "sh deploy/azure/entra.sh "];

/// A command of the guide, and the lines that it shows below.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    command: String,
    shown: Vec<String>,
}

/// The steps of all blocks that show a console.
fn steps(guide: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut is_inside = false;
    for line in guide.lines() {
        match (is_inside, line) {
            (false, "```console") => is_inside = true,
            (true, "```") => is_inside = false,
            (true, line) => match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step {
                    command: command.to_owned(),
                    shown: Vec::new(),
                }),
                (None, Some(step)) => step.shown.push(line.to_owned()),
                (None, None) => panic!("a block begins with no command: {line}"),
            },
            (false, _) => {}
        }
    }
    assert!(!is_inside, "a block has no end");
    steps
}

/// Whether lines are what is shown.
fn fits(shown: &[String], printed: &[&str]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((any, rest)) if any == "…" => (0..=printed.len()).any(|skipped| fits(rest, &printed[skipped..])),
        Some((line, rest)) => printed
            .split_first()
            .is_some_and(|(first, others)| fits_line(line, first) && fits(rest, others)),
    }
}

/// Whether a line is what is shown.
fn fits_line(shown: &str, printed: &str) -> bool {
    let Some((start, rest)) = shown.split_once('…') else {
        return shown == printed;
    };
    let Some(printed) = printed.strip_prefix(start) else {
        return false;
    };
    let ends = printed.char_indices().map(|(at, _)| at).chain([printed.len()]);
    ends.into_iter().any(|at| fits_line(rest, &printed[at..]))
}

/// The lease whose ID stands first in a text.
fn lease(text: &str) -> Option<String> {
    let mut words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
    words
        .find(|word| word.len() == 26 && word.starts_with("01"))
        .map(str::to_owned)
}

/// A shell of the person who reads the guide.
struct Reader<'l> {
    lit: &'l Lit,
    variables: BTreeMap<String, String>,
    lease: Option<String>,
    not_run: usize,
}

impl Reader<'_> {
    fn follow(&mut self, step: &Step, folder: &Path) {
        if let Some((name, said)) = step
            .command
            .strip_prefix("export ")
            .and_then(|rest| rest.split_once('='))
        {
            let value = match said {
                "$(az account show --query id --output tsv)" => self.lit.azure.settings().subscription.clone(),
                other => panic!("nobody knows what {other} prints"),
            };
            self.variables.insert(name.to_owned(), value);
            return;
        }
        if NOT_RUN.iter().any(|program| step.command.starts_with(program)) {
            assert_eq!(step.shown, [""; 0], "{} is not run", step.command);
            self.not_run += 1;
            return;
        }
        let command = match &self.lease {
            Some(lease) => step.command.replace(" ID", &format!(" {lease}")),
            None => step.command.clone(),
        };
        let script = format!("exec 2>&1; {command}");
        let mut shell = self.lit.hub.command("sh").args(["-c", &script]).current_dir(folder);
        for (name, value) in &self.variables {
            shell = shell.env(name, value);
        }
        let ran = shell.limit(Duration::from_secs(60)).output();
        // What the fake is for, the guide's reader has Azure for.
        let said = ran
            .stdout
            .replace(&self.lit.azure.url(), "https://management.azure.com");
        let printed: Vec<_> = said.lines().collect();
        assert!(ran.status.success(), "{command}: {}\n{}", ran.status, ran.stdout);
        assert!(
            fits(&step.shown, &printed),
            "{command}\nshall print\n{}\nand prints\n{}",
            step.shown.join("\n"),
            ran.stdout
        );
        if command.starts_with("adit launch list") {
            self.lease = lease(&ran.stdout).or(self.lease.take());
        }
    }
}

#[test]
fn the_guide_is_walked_through_from_the_first_command_to_the_last() {
    needs_machines!();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the repository");
    let guide = fs::read_to_string(root.join("docs/guide/azure.md")).expect("the guide");
    let steps = steps(&guide);
    let lit = Lit::new(quick());
    let home = tempfile::tempdir().expect("make a folder");
    std::os::unix::fs::symlink(root.join("deploy"), home.path().join("deploy")).expect("make a link");
    let program = lit.hub.install_as(env!("CARGO_BIN_EXE_adit"), "adit");
    let programs = program.parent().expect("a folder").display();
    let search = format!("{programs}:/usr/local/bin:/usr/bin:/bin");
    let settings = lit.azure.settings();
    let url = lit.azure.url();
    let variables = [
        ("HOME", home.path().to_str().expect("a path")),
        ("PATH", &search),
        ("ADIT_AZURE_MANAGEMENT_URL", &url),
        ("AZURE_AUTHORITY_HOST", &url),
        ("AZURE_TENANT_ID", &settings.tenant),
        ("AZURE_CLIENT_ID", &settings.client),
        ("AZURE_CLIENT_SECRET", &settings.secret),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut reader = Reader {
        lit: &lit,
        variables: variables.into(),
        lease: None,
        not_run: 0,
    };
    for step in &steps {
        reader.follow(step, home.path());
    }
    let launched = steps
        .iter()
        .filter(|step| step.command.starts_with("adit launch --on ") && step.command.contains("--detach"));
    assert_eq!(launched.count(), 2, "one of each place");
    assert!(
        reader.lease.is_some() && steps.len() - reader.not_run >= 12,
        "{} of {}",
        reader.not_run,
        steps.len()
    );
    assert_eq!(lit.left(), [""; 0]);
    for name in ["role.json", "role-look.json"] {
        let role = fs::read_to_string(home.path().join(name)).expect("the role");
        assert!(
            role.contains(&format!("/subscriptions/{}\"", settings.subscription)),
            "{role}"
        );
    }
}

#[test]
fn the_places_that_the_guide_describes_can_be_planned_for() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/azure.md");
    let guide = fs::read_to_string(guide).expect("the guide");
    let blocks = guide
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```"));
    let places = blocks
        .map(|(block, _)| block)
        .filter(|block| block.starts_with("# places.yml"));
    let folder = tempfile::tempdir().expect("make a folder");
    let file = folder.path().join("places.yml");
    let mut planned = Vec::new();
    for block in places {
        let kind = block
            .split("kind: ")
            .nth(1)
            .and_then(|rest| rest.lines().next())
            .expect("a kind");
        fs::write(&file, block).expect("write a file");
        let ran = std::process::Command::new(env!("CARGO_BIN_EXE_adit"))
            .args(["launch", "--plan", "--on", kind, "--places"])
            .arg(&file)
            .env_clear()
            .output()
            .expect("start adit");
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success(), "{block}{said}");
        planned.push(kind.to_owned());
    }
    assert_eq!(planned, ["azure-vm", "azure-container"]);
}

#[test]
fn what_a_guide_shows_is_told_from_what_it_does_not_show() {
    let text = "text\n```console\n$ one\nshown\n…\n$ two\n```\n```yaml\n$ none\n```\n";
    let [one, two] = &steps(text)[..] else {
        panic!("two steps")
    };
    assert_eq!((one.command.as_str(), two.command.as_str()), ("one", "two"));
    assert_eq!((one.shown.join("|"), two.shown.len()), ("shown|…".to_owned(), 0));
    // (shown, printed, whether it fits)
    for (shown, printed, does) in [
        ("", "", true),
        ("", "x", false),
        ("…", "", true),
        ("…", "a|b", true),
        ("a|…|d", "a|b|c|d", true),
        ("a|…|d", "a|d|e", false),
        ("a…c", "abc", true),
        ("a…c", "ac", true),
        ("…b…", "abc", true),
        ("…x…", "abc", false),
        ("PUT …/a?…", "PUT http://h/a?v=1", true),
        ("a…", "ba", false),
        ("a", "A", false),
    ] {
        let lines = |text: &'static str| text.split('|').filter(|line| !line.is_empty()).collect::<Vec<_>>();
        let shown_lines: Vec<_> = lines(shown).into_iter().map(str::to_owned).collect();
        assert_eq!(fits(&shown_lines, &lines(printed)), does, "{shown} {printed}");
    }
    assert_eq!(
        lease("  01KAXB2Z3Y4X5W6V7T8S9R0Q1P azure-vm ready"),
        Some("01KAXB2Z3Y4X5W6V7T8S9R0Q1P".to_owned())
    );
    assert_eq!(lease("nothing"), None);
}
