//! `dgate module test`: finds test files, runs them one after the other, and says how it went.

mod gateway;

use super::show::{Texts, fault};
use crate::cli::{INVALID, complain};
use crate::js::testing::{Failed, Make, Mode, TestFile, Unloaded};
use crate::js::{LoadError, Said, family};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// Arguments of `dgate module test`.
#[derive(clap::Args)]
pub(in crate::cli) struct Test {
    /// Test files, and folders in which they are looked for, deep down
    #[arg(value_name = "PATH", default_value = ".", value_hint = clap::ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
    /// Run only tests whose name, with that of its groups, contains this text; upper and lower case are the same
    #[arg(short, long, value_name = "TEXT")]
    filter: Option<String>,
}

/// How many there are of each.
#[derive(Default)]
struct Count {
    passed: usize,
    failed: usize,
    skipped: usize,
    todo: usize,
    /// Files that do not compile.
    invalid: usize,
    /// Files in which `test.only` leaves some out.
    only: usize,
}

impl Test {
    pub(super) fn run(self) -> ExitCode {
        let mut files = Vec::new();
        for path in &self.paths {
            if let Err((path, error)) = find(path, true, &mut files) {
                complain(&format!("{}: {error}", path.display()), None);
                return ExitCode::FAILURE;
            }
        }
        files.sort();
        files.dedup();
        // One thread: whatever a test waits for is then a matter of order, not of scheduling.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                complain(&format!("start the runtime: {error}"), None);
                return ExitCode::FAILURE;
            }
        };
        let filter = self.filter.as_deref().map(str::to_lowercase);
        let mut count = Count::default();
        let mut out = std::io::stdout();
        let ran = runtime.block_on(async {
            for file in &files {
                run(file, filter.as_deref(), &mut count, &mut out).await?;
            }
            count.summary(&mut out)
        });
        match ran {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                complain(&format!("write to stdout: {error}"), None);
                return ExitCode::FAILURE;
            }
            _ => {}
        }
        if count.invalid > 0 {
            return ExitCode::from(INVALID);
        }
        if count.passed + count.failed + count.skipped + count.todo == 0 {
            let (what, hint) = match (&self.filter, files.is_empty()) {
                (Some(filter), false) => (
                    format!("no test has `{filter}` in its name"),
                    "names are those of groups and test, with a space between",
                ),
                _ => (
                    "there is no test".to_owned(),
                    "tests are in files *.test.ts and *.test.js: `dgate module test [PATH…]`",
                ),
            };
            complain(&what, Some(hint));
            return ExitCode::FAILURE;
        }
        match count.failed {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
}

/// Collects test files; one that is named is taken whatever its name is.
fn find(
    path: &Path,
    named: bool,
    files: &mut Vec<PathBuf>,
) -> Result<(), (PathBuf, std::io::Error)> {
    let wrong = |error| (path.to_owned(), error);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if !std::fs::metadata(path).map_err(wrong)?.is_dir() {
        if named || name.ends_with(".test.ts") || name.ends_with(".test.js") {
            let path = path.strip_prefix("./").unwrap_or(path);
            files.push(path.to_owned());
        }
        return Ok(());
    }
    if !named && (name.starts_with('.') || name == "node_modules") {
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        // Links are not followed: they may go round.
        if !entry.file_type().map_err(wrong)?.is_symlink() {
            find(&entry.path(), false, files)?;
        }
    }
    Ok(())
}

async fn run(
    path: &Path,
    filter: Option<&str>,
    count: &mut Count,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let texts = texts(path);
    let make: Make = Arc::new(gateway::make);
    let file = match TestFile::load(path, make).await {
        Ok(file) => file,
        Err(Unloaded::Invalid(error)) => {
            count.invalid += 1;
            writeln!(out, "{}", path.display())?;
            return writeln!(
                out,
                "  FAIL  it does not compile\n{}",
                indented(&invalid(path, &error))
            );
        }
        Err(Unloaded::Failed(failed)) => {
            count.failed += 1;
            writeln!(out, "{}\n  FAIL  outside of its tests", path.display())?;
            return tell(&failed, &texts, out);
        }
    };
    let wanted = |name: &str| filter.is_none_or(|text| name.to_lowercase().contains(text));
    let tests = file.tests().iter().enumerate();
    let tests: Vec<_> = tests.filter(|(_, test)| wanted(&test.name)).collect();
    if tests.is_empty() {
        return Ok(());
    }
    count.only += usize::from(file.only());
    writeln!(out, "{}", path.display())?;
    say(&file.log(), out)?;
    for (at, test) in tests {
        match test.mode {
            Mode::Skip => {
                count.skipped += 1;
                writeln!(out, "  skip  {}", test.name)?;
                continue;
            }
            Mode::Todo => {
                count.todo += 1;
                writeln!(out, "  todo  {}", test.name)?;
                continue;
            }
            Mode::Run => {}
        }
        let begun = Instant::now();
        let result = file.run(at).await;
        let took = begun.elapsed().as_millis();
        match result {
            Ok(()) => {
                count.passed += 1;
                writeln!(out, "  ok    {} ({took} ms)", test.name)?;
                // What passes is only shown what it says itself.
                let own: Vec<_> = file.log();
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                let own: Vec<_> = own.into_iter().filter(|s| s.module == name).collect();
                say(&own, out)?;
            }
            Err(failed) => {
                count.failed += 1;
                writeln!(out, "  FAIL  {} ({took} ms)", test.name)?;
                tell(&failed, &texts, out)?;
            }
        }
    }
    Ok(())
}

/// The files that stack traces of a test may name: those beside it.
fn texts(path: &Path) -> Texts {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let beside = std::fs::read_dir(folder.unwrap_or(Path::new(".")));
    let beside = beside.into_iter().flatten().flatten();
    Texts::new(beside.map(|entry| {
        let name = entry.file_name();
        folder.map_or_else(|| PathBuf::from(&name), |folder| folder.join(&name))
    }))
}

fn invalid(path: &Path, error: &LoadError) -> String {
    let LoadError::Invalid(faults) = error else {
        return error.to_string();
    };
    let known = family(path).unwrap_or_default();
    let lines = faults.iter().map(|one| {
        let known = known.iter().find(|f| f.module.name == one.module);
        fault(known.map_or(path, |f| &f.path), one)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The message of a failure, the place in the file, and the log.
fn tell(failed: &Failed, texts: &Texts, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "{}", indented(&failed.message))?;
    if let Some((place, lines)) = texts.place(&failed.message) {
        writeln!(out, "{}\n{}", indented(&place), indented(&lines))?;
    }
    say(&failed.log, out)
}

fn say(log: &[Said], out: &mut impl Write) -> std::io::Result<()> {
    for said in log {
        let line = format!("{:5} {}: {}", said.level, said.module, said.message);
        writeln!(out, "{}", indented(&line))?;
    }
    Ok(())
}

fn indented(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| format!("        {line}").trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

impl Count {
    fn summary(&self, out: &mut impl Write) -> std::io::Result<()> {
        let mut parts = Vec::new();
        for (number, word) in [
            (self.passed, "passed"),
            (self.failed, "failed"),
            (self.skipped, "skipped"),
            (self.todo, "todo"),
        ] {
            if number > 0 {
                parts.push(format!("{number} {word}"));
            }
        }
        let files = |n: usize| format!("{n} file{}", if n == 1 { "" } else { "s" });
        if self.invalid > 0 {
            parts.push(format!("{} not compiled", files(self.invalid)));
        }
        if self.only > 0 {
            parts.push(format!("test.only in {}", files(self.only)));
        }
        match parts.is_empty() {
            true => Ok(()),
            false => writeln!(out, "\n{}", parts.join(", ")),
        }
    }
}
