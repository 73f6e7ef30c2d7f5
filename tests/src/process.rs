//! [`Process`]: the binary `dgate` itself, in a directory of its own, for what only a process has:
//! signals, exit codes, memory, its log.
//!
//! The binary is `$DGATE_BIN`, or `dgate` beside the test executable, which is built when it is
//! absent or older than the sources. Tests run in parallel processes, so a file lock lets one build.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tempfile::TempDir;

/// How long a process may take to start, to reload or to end: a loaded machine is slow.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a command that ended left behind.
#[derive(Debug)]
pub struct Done {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

/// A directory for a process, with files in it.
pub struct Place {
    dir: TempDir,
    variables: Vec<(String, String)>,
}

/// A running `dgate serve`. Killed on drop.
pub struct Process {
    child: Child,
    place: Place,
    log: Arc<Log>,
    proxy: SocketAddr,
    admin: SocketAddr,
}

#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    more: Condvar,
}

impl Place {
    /// An empty directory.
    ///
    /// # Panics
    /// If there is no room for temporary files.
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
            variables: Vec::new(),
        }
    }

    /// Writes a file in it.
    ///
    /// # Panics
    /// If that fails.
    pub fn file(self, name: &str, text: &str) -> Self {
        self.write(name, text);
        self
    }

    /// Writes a file in it, in a folder that is made if need be.
    ///
    /// # Panics
    /// If that fails.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        let folder = path.parent().expect("a file in a directory has one");
        fs::create_dir_all(folder).expect("the temporary directory takes folders");
        fs::write(path, text).expect("the temporary directory takes files");
    }

    /// Sets an environment variable.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs `dgate` with these arguments to its end, at most [`PATIENCE`].
    ///
    /// # Panics
    /// If it does not end.
    pub fn run(&self, args: &[&str]) -> Done {
        let mut child = self.spawn(args, Stdio::piped());
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let out = std::thread::spawn(move || text_of(out));
        let err = std::thread::spawn(move || text_of(err));
        let ended = ended(&mut child, PATIENCE);
        if ended.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let (stdout, stderr) = (out.join(), err.join());
        let done = Done {
            code: ended.and_then(|status| status.code()),
            stdout: stdout.unwrap_or_default(),
            stderr: stderr.unwrap_or_default(),
        };
        assert!(ended.is_some(), "dgate {args:?} goes on: {done:?}");
        done
    }

    /// Runs `dgate serve` with further arguments and waits until it listens. Its log must be JSON:
    /// the ports that it chose are read from it.
    ///
    /// # Panics
    /// With what it wrote, if it does not come up.
    pub fn serve(self, args: &[&str]) -> Process {
        let mut process = self.begin(args);
        process.proxy = process.address_in("proxy listens");
        process.admin = process.address_in("Admin API listens");
        process
    }

    /// Runs `dgate serve`, whose configuration names these addresses, and waits until it takes
    /// connections: for a log that says nothing of it.
    ///
    /// # Panics
    /// With what it wrote, if it does not come up.
    pub fn serve_on(self, proxy: SocketAddr, admin: SocketAddr) -> Process {
        let mut process = self.begin(&[]);
        (process.proxy, process.admin) = (proxy, admin);
        let deadline = Instant::now() + PATIENCE;
        for address in [proxy, admin] {
            while TcpStream::connect(address).is_err() {
                assert!(
                    Instant::now() < deadline && process.is_running(),
                    "it does not listen on {address}: {}",
                    process.output()
                );
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        process
    }

    /// Runs `dgate serve` and waits for nothing: for one that does not come up, or not yet.
    pub fn begin(self, args: &[&str]) -> Process {
        let all: Vec<&str> = ["serve"].iter().chain(args).copied().collect();
        self.start(&all)
    }

    /// The same with `dgate dev` and its arguments, at ports that it chooses.
    ///
    /// # Panics
    /// With what it wrote, if it does not come up.
    pub fn dev(self, args: &[&str]) -> Process {
        let ports = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        let all = ["dev"].iter().chain(&ports).chain(args);
        let all: Vec<&str> = all.copied().collect();
        let mut process = self.start(&all);
        process.proxy = process.address_in("proxy listens");
        process.admin = process.address_in("Admin API listens");
        process
    }

    fn start(self, args: &[&str]) -> Process {
        let mut child = self.spawn(args, Stdio::null());
        let log = Arc::new(Log::default());
        let stderr = child.stderr.take().expect("stderr is piped");
        std::thread::spawn({
            let log = log.clone();
            move || log.follow(stderr)
        });
        Process {
            child,
            place: self,
            log,
            proxy: SocketAddr::from(([0, 0, 0, 0], 0)),
            admin: SocketAddr::from(([0, 0, 0, 0], 0)),
        }
    }

    /// Starts `dgate` with these arguments, its stderr piped, and leaves the rest to the caller.
    ///
    /// # Panics
    /// If it does not start.
    pub fn spawn(&self, args: &[&str], stdout: Stdio) -> Child {
        let mut command = Command::new(binary());
        command.args(args).current_dir(self.path()).env_clear();
        command.envs(self.variables.iter().map(|(n, v)| (n, v)));
        command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped());
        command.spawn().expect("the binary starts")
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Process {
    /// `dgate serve` with this `dgate.yaml`, JSON being YAML: ports 0 and the log are filled in
    /// where the configuration says nothing.
    pub fn start(mut config: Value) -> Self {
        complete(&mut config);
        Place::new()
            .file("dgate.yaml", &config.to_string())
            .serve(&[])
    }

    /// Where it listens for traffic.
    pub fn addr(&self) -> SocketAddr {
        self.proxy
    }

    /// Where its Admin API listens.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin
    }

    /// Its directory.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Writes `dgate.yaml` anew and sends SIGHUP.
    pub fn reload(&self, mut config: Value) {
        complete(&mut config);
        self.place.write("dgate.yaml", &config.to_string());
        self.signal("HUP");
    }

    /// Sends a signal, by its name without SIG.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let kill = Command::new("/bin/sh")
            .args(["-c", "kill -$0 $1", name, &pid])
            .status();
        assert!(
            kill.is_ok_and(|k| k.success()),
            "cannot send {name} to {pid}"
        );
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end and gives the exit code.
    ///
    /// # Panics
    /// If it does not end within `within`.
    pub fn wait(&mut self, within: Duration) -> Option<i32> {
        match ended(&mut self.child, within) {
            Some(status) => status.code(),
            None => panic!("it runs after {within:?}: {}", self.output()),
        }
    }

    /// Ends it at once, as `kill -9` does, and gives its directory for the next one.
    ///
    /// # Panics
    /// If it does not end.
    pub fn kill(mut self) -> Place {
        self.child.kill().expect("it is a child of this process");
        self.child.wait().expect("it is a child of this process");
        std::mem::take(&mut self.place)
    }

    /// Its log so far.
    pub fn output(&self) -> String {
        self.log.locked().0.join("\n")
    }

    /// Waits for a line of its log that holds `what`.
    ///
    /// # Panics
    /// With the log, if there is none in time.
    pub fn wait_for_line(&self, what: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.locked();
        loop {
            if let Some(line) = lines.0.iter().find(|line| line.contains(what)) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !lines.1 && !left.is_zero(),
                "no line with {what:?} in:\n{}",
                lines.0.join("\n")
            );
            let waited = self.log.more.wait_timeout(lines, left);
            lines = waited.expect("nothing panics while it holds the lock").0;
        }
    }

    /// A line of `/proc/<pid>/status` in KiB: `VmRSS`, `VmHWM`.
    ///
    /// # Panics
    /// If there is none.
    pub fn status_kib(&self, name: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let text = text.expect("the process lives");
        let line = text.lines().find_map(|l| l.strip_prefix(name));
        let number = line.and_then(|l| l.split_whitespace().nth(1));
        number
            .and_then(|n| n.parse().ok())
            .expect("a number of KiB")
    }

    fn address_in(&self, what: &str) -> SocketAddr {
        let line = self.wait_for_line(what);
        let json: Option<Value> = serde_json::from_str(&line).ok();
        let address = match &json {
            Some(json) => json["address"].as_str(),
            // Without a configuration the log is text.
            None => line.split("address=").nth(1),
        };
        let address = address.and_then(|a| a.trim().parse().ok());
        address.expect("the line names the address")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Log {
    fn locked(&self) -> std::sync::MutexGuard<'_, (Vec<String>, bool)> {
        self.lines
            .lock()
            .expect("nothing panics while it holds the lock")
    }

    fn follow(&self, stderr: impl Read) {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            self.locked().0.push(line);
            self.more.notify_all();
        }
        self.locked().1 = true;
        self.more.notify_all();
    }
}

/// Ports 0 and a JSON log, where `config` says nothing.
fn complete(config: &mut Value) {
    config["version"] = 1.into();
    for (section, key, value) in [
        ("proxy", "listen", "127.0.0.1:0"),
        ("admin", "listen", "127.0.0.1:0"),
        ("log", "format", "json"),
    ] {
        if config[section][key].is_null() {
            config[section][key] = value.into();
        }
    }
}

fn text_of(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn ended(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + within;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The binary, built when it has to be.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = std::env::var_os("DGATE_BIN") {
            return given.into();
        }
        let test = std::env::current_exe().expect("this test is a file");
        // target/<profile>/deps/it-<hash>
        let profile = test.parent().and_then(Path::parent).expect("it is in deps");
        let (binary, stamp) = (profile.join("dgate"), profile.join(".dgate-for-tests"));
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        if !is_current(&binary, &stamp, &root) {
            let lock = File::create(profile.join(".dgate-for-tests.lock")).expect("a lock file");
            lock.lock().expect("the lock of the build");
            if !is_current(&binary, &stamp, &root) {
                build(&root, profile, &stamp);
            }
        }
        binary
    })
}

fn build(root: &Path, profile: &Path, stamp: &Path) {
    // Before the build: a source that changes meanwhile is newer.
    let begun = File::create(stamp.with_extension("new")).expect("a stamp");
    drop(begun);
    let name = profile.file_name().and_then(|n| n.to_str());
    let name = name.filter(|n| *n != "debug").unwrap_or("dev");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = profile
        .parent()
        .expect("a profile is in a target directory");
    let built = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--quiet", "-p", "dgate", "--bin", "dgate"])
        .args(["--profile", name, "--target-dir"])
        .arg(target)
        .status();
    assert!(
        built.is_ok_and(|b| b.success()),
        "the binary `dgate` does not build"
    );
    fs::rename(stamp.with_extension("new"), stamp).expect("the stamp takes its place");
}

/// Whether the binary was built after the last change of what it is made from.
fn is_current(binary: &Path, stamp: &Path, root: &Path) -> bool {
    let (Ok(_), Some(built)) = (binary.metadata(), changed(stamp)) else {
        return false;
    };
    let mut left: VecDeque<PathBuf> = ["dgate", "dgate-macros", "plugins", "Cargo.lock"]
        .iter()
        .map(|name| root.join(name))
        .collect();
    while let Some(path) = left.pop_front() {
        if path.is_dir() {
            let inside = fs::read_dir(&path).into_iter().flatten().flatten();
            left.extend(inside.map(|entry| entry.path()));
        } else if changed(&path).is_some_and(|at| at > built) {
            return false;
        }
    }
    true
}

fn changed(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}
