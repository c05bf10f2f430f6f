//! Debian's packages: this machine's own, and those of another suite without touching the machine's.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::run;

/// How long a package manager may take.
const LIMIT: Duration = Duration::from_secs(300);

/// Calls this machine's own apt-get.
pub(crate) fn machine(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    let ran = run::show(&mut command, LIMIT)?;
    anyhow::ensure!(ran.success, "apt-get {} failed", arguments.join(" "));
    Ok(())
}

/// Unpacks a package into `folder`, without running anything of it.
pub(crate) fn unpack(package: &Path, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).context("make a folder to unpack into")?;
    let ran = run::show(Command::new("dpkg").arg("-x").arg(package).arg(folder), LIMIT)?;
    anyhow::ensure!(ran.success, "dpkg -x {} failed", package.display());
    Ok(())
}

/// A suite of Debian's, from the mirror that this machine uses.
pub(crate) struct Suite {
    name: String,
    folder: PathBuf,
    options: Vec<String>,
}

impl Suite {
    /// Reads the suite's list of packages into a folder below `tools`.
    pub(crate) fn open(tools: &Path, name: &str) -> Result<Self> {
        let folder = tools.join("apt").join(name);
        for part in ["lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(folder.join(part)).context("make folders for apt")?;
        }
        let mirror = mirror().context("no mirror of Debian in this machine's apt sources")?;
        std::fs::write(folder.join("sources.list"), format!("deb {mirror} {name} main\n"))
            .context("write apt's sources")?;
        let own = |option: &str, path: &str| ["-o".to_owned(), format!("{option}={}", folder.join(path).display())];
        let options = [
            own("Dir::Etc::SourceList", "sources.list"),
            own("Dir::Etc::SourceParts", "none"),
            own("Dir::State::Lists", "lists"),
            own("Dir::Cache", "cache"),
            ["-o".to_owned(), "APT::Sandbox::User=root".to_owned()],
        ];
        let suite = Self {
            name: name.to_owned(),
            options: options.concat(),
            folder,
        };
        suite.get(&["update", "-qq"])?;
        Ok(suite)
    }

    /// What `package` depends on whose name begins with `prefix`.
    pub(crate) fn dependency(&self, package: &str, prefix: &str) -> Result<String> {
        let mut command = Command::new("apt-cache");
        let said = run::ask(command.args(&self.options).args(["depends", package]));
        let said = said.with_context(|| format!("apt-cache knows no {package} in {}", self.name))?;
        let mut names = said
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("Depends: "));
        let name = names.find(|name| name.starts_with(prefix));
        name.map(str::to_owned)
            .with_context(|| format!("{package} of {} depends on no {prefix}*", self.name))
    }

    /// Downloads a package.
    pub(crate) fn download(&self, package: &str) -> Result<PathBuf> {
        self.get(&["download", "-qq", package])?;
        let mut files = std::fs::read_dir(&self.folder)
            .context("look for the package")?
            .filter_map(|entry| Some(entry.ok()?.path()));
        let is_it = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with(&format!("{package}_")) && name.ends_with(".deb")
        };
        files.find(is_it).context("apt-get downloaded no package")
    }

    fn get(&self, task: &[&str]) -> Result<()> {
        let mut command = Command::new("apt-get");
        command.args(&self.options).args(task).current_dir(&self.folder);
        let ran = run::show(&mut command, LIMIT)?;
        anyhow::ensure!(ran.success, "apt-get {} of {} failed", task.join(" "), self.name);
        Ok(())
    }
}

/// The options and the address of the mirror from which this machine gets Debian itself.
fn mirror() -> Option<String> {
    let format = "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)|$(SIGNED_BY)";
    let targets = run::ask(Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]))?;
    targets.lines().find_map(|line| {
        let fields: Vec<_> = line.split('|').collect();
        let ["Debian", "Debian", "main", address, key] = fields[..] else {
            return None;
        };
        // Indices of packages only; and apt leaves the key's name as it is where the source gives none.
        let key = if key.starts_with('/') {
            format!("signed-by={key} ")
        } else {
            String::new()
        };
        Some(format!("[ {key}target=Packages ] {address}"))
    })
}
