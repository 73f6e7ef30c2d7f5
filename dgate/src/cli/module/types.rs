//! `dgate module types`: `dgate.d.ts`, and the settings that tell an editor what to do with it.

use crate::cli::complain;
use crate::js::TYPES;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A world without DOM and Node.
const TSCONFIG: &str = r#"{
  "compilerOptions": {
    "strict": true,
    "noEmit": true,
    "target": "ES2022",
    "lib": ["ES2023"],
    "types": [],
    "module": "esnext",
    "moduleResolution": "bundler"
  }
}
"#;

/// Arguments of `dgate module types`.
#[derive(clap::Args)]
pub(in crate::cli) struct Types {
    /// The folder to write dgate.d.ts into; made if need be
    #[arg(short, long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    out: Option<PathBuf>,
}

impl Types {
    pub(super) fn run(self) -> ExitCode {
        let Some(folder) = self.out else {
            return match std::io::stdout().write_all(TYPES.as_bytes()) {
                Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                    complain(&format!("write to stdout: {error}"), None);
                    ExitCode::FAILURE
                }
                _ => ExitCode::SUCCESS,
            };
        };
        match write(&folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err((path, error)) => {
                complain(&format!("write {}: {error}", path.display()), None);
                ExitCode::FAILURE
            }
        }
    }
}

fn write(folder: &Path) -> Result<(), (PathBuf, std::io::Error)> {
    std::fs::create_dir_all(folder).map_err(|e| (folder.to_owned(), e))?;
    let types = folder.join("dgate.d.ts");
    std::fs::write(&types, TYPES).map_err(|e| (types.clone(), e))?;
    eprintln!("wrote {}", types.display());
    let settings = folder.join("tsconfig.json");
    // Never over one that is there: it is the user's.
    let made = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&settings)
        .and_then(|mut file| file.write_all(TSCONFIG.as_bytes()));
    match made {
        Ok(()) => eprintln!("wrote {}", settings.display()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err((settings, error)),
    }
    Ok(())
}
