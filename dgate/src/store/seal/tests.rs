//! Sealing: what opens, what does not, where keys come from, and that no error gives anything away.

use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn of_variable(text: &str) -> Result<Sealer, SealError> {
    Sealer::load(None, Some(text), Path::new("/nonexistent"))
}

#[test]
fn opens_only_what_it_sealed_and_where() {
    let sealer = Sealer::random();
    for plain in [&b""[..], b"token", &[7; 100_000]] {
        let text = sealer.seal("secret/default/a", plain);
        assert_eq!(&sealer.open("secret/default/a", &text).unwrap()[..], plain);
        let elsewhere = sealer.open("secret/default/b", &text);
        assert!(matches!(elsewhere, Err(SealError::Changed { .. })));
        // Any changed byte of the sealed part is noticed.
        for at in [12, text.len() / 2, text.len() - 2] {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(sealer.open("secret/default/a", &changed).is_err(), "{at}");
        }
    }
    assert_ne!(sealer.seal("a", b"x"), sealer.seal("a", b"x"));
}

#[test]
fn what_is_not_sealed_is_refused_without_showing_it() {
    let sealer = Sealer::random();
    for text in [
        "",
        "hunter2",
        "v1.",
        "v1.hunter2",
        "v2.hunter2.hunter2",
        "v1.hunter2.hunter2",
    ] {
        let message = sealer.open("a", text).unwrap_err().to_string();
        assert!(!message.contains("hunter"), "{message}");
    }
    let short = format!("v1.{}.AAAA", sealer.key_id());
    assert!(sealer.open("a", &short).is_err());
    assert!(Sealer::random().open("a", &sealer.seal("a", b"x")).is_err());
}

#[test]
fn a_key_may_be_hex_or_base64() {
    let hex = of_variable(HEX).unwrap();
    for same in [
        &HEX.to_uppercase(),
        BASE64,
        BASE64.trim_end_matches('='),
        &format!(" {BASE64}\n"),
    ] {
        assert_eq!(of_variable(same).unwrap().key_id(), hex.key_id());
    }
    assert_ne!(hex.key_id(), Sealer::random().key_id());
    for wrong in ["changeme", &HEX[2..], &format!("{HEX}00"), "AAECAw=="] {
        let message = of_variable(wrong).unwrap_err().to_string();
        assert!(
            message.contains("DGATE_SECRET_KEY") && message.contains("32 bytes"),
            "{message}"
        );
        assert!(!message.contains(wrong), "{message}");
    }
}

#[test]
fn keys_are_rotated_by_putting_a_new_one_first() {
    let dir = tempfile::tempdir().unwrap();
    let load = || Sealer::load(None, None, dir.path()).unwrap();
    let old = load();
    let text = old.seal("a", b"x");
    assert!(!old.needs_reseal(&text));

    let path = dir.path().join(KEY_FILE);
    let id = Sealer::rotate_file(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    let both = load();
    assert_eq!(both.key_id(), id);
    assert_eq!(&both.open("a", &text).unwrap()[..], b"x");
    assert!(both.needs_reseal(&text));
    let resealed = both.seal("a", b"x");
    assert!(!both.needs_reseal(&resealed));

    let new_only = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = new_only.lines().filter(|l| !l.starts_with('#')).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(Sealer::retire_file(&path).unwrap(), 1);
    assert_eq!(Sealer::retire_file(&path).unwrap(), 0);
    assert!(fs::read_to_string(&path).unwrap().contains(lines[0]));
    assert_eq!(mode(&path), 0o600);
    let new = load();
    assert_eq!(&new.open("a", &resealed).unwrap()[..], b"x");
    let message = new.open("a", &text).unwrap_err().to_string();
    assert!(message.contains(old.key_id()), "{message}");
}

#[test]
fn the_key_file_is_made_once_and_for_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let storage = dir.path().join("storage");
    let first = Sealer::load(None, None, &storage).unwrap();
    let path = storage.join(KEY_FILE);
    assert_eq!(first.made(), Some(path.as_path()));
    assert_eq!((mode(&path), mode(&storage)), (0o600, 0o700));
    let again = Sealer::load(None, None, &storage).unwrap();
    assert_eq!((again.made(), again.key_id()), (None, first.key_id()));
    assert_eq!(fs::read_dir(&storage).unwrap().count(), 1);

    for open in [0o640, 0o604, 0o620] {
        fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
        let message = Sealer::load(None, None, &storage).unwrap_err().to_string();
        assert!(message.contains("chmod 600"), "{message}");
    }
}

#[test]
fn processes_that_start_at_once_get_one_key() {
    let dir = tempfile::tempdir().unwrap();
    let ids: Vec<String> = std::thread::scope(|scope| {
        let load = || Sealer::load(None, None, dir.path());
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(load)).collect();
        let loaded = threads.into_iter().map(|t| t.join().unwrap().unwrap());
        loaded.map(|sealer| sealer.key_id().to_owned()).collect()
    });
    let kept = Sealer::load(None, None, dir.path()).unwrap();
    assert!(ids.iter().all(|id| id == kept.key_id()), "{ids:?}");
}

#[test]
fn a_key_file_that_is_wrong_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    let message = |text: &str| {
        let _ = fs::remove_file(&path);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let loaded = Sealer::load(Some(&path), None, dir.path());
        loaded.unwrap_err().to_string()
    };
    assert!(message(&format!("# ours\n{HEX}\nnonsense\n")).contains("keys, line 3, is not a key"));
    assert!(message("# empty\n").contains("holds no key"));
    // Not made where the configuration points to a directory that is not there: more likely a missing mount.
    let missing = dir.path().join("mounted/keys");
    let loaded = Sealer::load(Some(&missing), None, dir.path());
    assert!(matches!(loaded, Err(SealError::Io { .. })));
}

#[test]
fn a_backup_opens_with_its_passphrase_only() {
    // Little work, since a debug build takes seconds for what a release does in tenths of one.
    let text = passphrase::seal_with_work([64, 3, 4], b"correct horse", b"everything");
    assert!(text.starts_with("dgate-backup.v1.64-3-4."), "{text}");
    assert!(is_backup(text.as_bytes()) && !is_backup(b"routes: []"));
    let open = |pass: &[u8], text: &str| open_with_passphrase(pass, text);
    assert_eq!(
        &open(b"correct horse", &format!("{text}\n")).unwrap()[..],
        b"everything"
    );
    let wrong = open(b"battery staple", &text);
    assert!(matches!(wrong, Err(SealError::Passphrase)));
    // Less work than it was made with, or far too much.
    let weaker = text.replace("64-3-4", "64-2-4");
    assert!(matches!(
        open(b"correct horse", &weaker),
        Err(SealError::Passphrase)
    ));
    let greedy = text.replace("64-3-4", "4294967295-3-4");
    assert!(matches!(
        open(b"correct horse", &greedy),
        Err(SealError::Incomplete)
    ));
    assert!(matches!(
        open(b"correct horse", &text[..40]),
        Err(SealError::Incomplete)
    ));
    assert!(matches!(
        open(b"x", "revision: 1"),
        Err(SealError::NotSealed)
    ));
}

#[test]
fn a_digest_depends_on_the_key() {
    // RFC 4231, test case 1, with the key padded with zeros as HMAC pads it.
    let mut key = [0; 32];
    key[..20].fill(0x0b);
    assert_eq!(
        digest(&key, b"Hi There"),
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    );
    assert_ne!(digest(&[1; 32], b"x"), digest(&[2; 32], b"x"));
}

#[test]
fn debug_shows_no_key() {
    let shown = format!("{:?}", of_variable(HEX).unwrap());
    assert!(shown.len() < 20 && !shown.contains("0001"), "{shown}");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
