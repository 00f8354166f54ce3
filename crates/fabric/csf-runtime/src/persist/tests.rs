use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use super::*;

/// A folder that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("csf-persist-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is only disk space.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Cell {
    id: String,
    state: Mutex<Value>,
}

impl PersistableComponent for Cell {
    fn component_id(&self) -> &str {
        &self.id
    }

    fn extract_state(&self) -> std::result::Result<Value, String> {
        Ok(self.state.lock().unwrap().clone())
    }

    fn restore_state(&self, state: &Value) -> std::result::Result<(), String> {
        *self.state.lock().unwrap() = state.clone();
        Ok(())
    }
}

fn key(id: &str) -> StateKey {
    StateKey::new(id, [id.len() as u8; 32]).unwrap()
}

fn ring(ids: &[&str]) -> KeyRing {
    KeyRing::new(ids.iter().map(|id| key(id)).collect()).unwrap()
}

/// A fresh process on the same directory: components a and b with these states.
fn process(scratch: &Scratch, keys: &[&str], states: [Value; 2]) -> (StatePersistence, [Arc<Cell>; 2]) {
    let persistence = StatePersistence::new(scratch.0.clone(), ring(keys));
    let [a, b] = states;
    let cells = [("a", a), ("b", b)].map(|(id, state)| Arc::new(Cell { id: id.to_owned(), state: Mutex::new(state) }));
    cells.iter().for_each(|cell| persistence.register(cell.clone()));
    (persistence, cells)
}

const NOW: Stamp = Stamp(1_795_262_301_000_000_000);

fn states(cells: &[Arc<Cell>; 2]) -> [Value; 2] {
    [0, 1].map(|i| cells[i].state.lock().unwrap().clone())
}

#[test]
fn a_restart_restores_equal_state_and_the_files_show_nothing_of_it() {
    let scratch = Scratch::new();
    let secret = json!({ "position": [1.5, -2.0], "who": "the-secret-name" });
    let (before, _) = process(&scratch, &["k1"], [secret.clone(), json!(7)]);
    let report = before.persist_all(NOW).unwrap();
    assert_eq!(report.time, "2026-11-21T11:58:21.000000000Z");
    let (after, cells) = process(&scratch, &["k1"], [Value::Null, Value::Null]);
    assert_eq!(after.restore_all().unwrap().unwrap(), report);
    assert_eq!(states(&cells), [secret, json!(7)]);
    for file in &report.files {
        let bytes = std::fs::read(scratch.0.join(&report.time).join(&file.file_path)).unwrap();
        assert_eq!((bytes.len() as u64, calculate_checksum(&bytes)), (file.size, file.checksum.clone()));
        assert!(!bytes.windows(6).any(|w| w == b"secret" || w == b"positi"), "{} is readable", file.file_path);
    }
}

#[test]
fn no_file_is_read_without_its_key_or_in_anothers_place() {
    let scratch = Scratch::new();
    let report = process(&scratch, &["k1"], [json!(1), json!(2)]).0.persist_all(NOW).unwrap();
    let other = process(&scratch, &["another"], [Value::Null, Value::Null]).0.restore_all().unwrap_err();
    assert!(matches!(&other, PersistenceError::UnknownKey { key_id, .. } if key_id == "k1"), "{other}");
    let same_name = KeyRing::new(vec![StateKey::new("k1", [9; 32]).unwrap()]).unwrap();
    let wrong = StatePersistence::new(scratch.0.clone(), same_name).restore_all().unwrap_err();
    assert!(wrong.to_string().contains("a.state is damaged: its seal does not fit"), "{wrong}");

    // b's file as a's, with a manifest that agrees: only the seal can tell.
    let set = scratch.0.join(&report.time);
    std::fs::copy(set.join("b.state"), set.join("a.state")).unwrap();
    let mut forged = report;
    forged.files[0].checksum = forged.files[1].checksum.clone();
    std::fs::write(set.join(MANIFEST), serde_json::to_vec(&forged).unwrap()).unwrap();
    let swapped = process(&scratch, &["k1"], [Value::Null, Value::Null]).0.restore_all().unwrap_err();
    assert!(swapped.to_string().contains("a.state is damaged: its seal does not fit"), "{swapped}");
}

#[test]
fn every_flipped_or_missing_byte_is_found_and_its_file_named() {
    let scratch = Scratch::new();
    let report = process(&scratch, &["k1"], [json!("state of a"), json!(2)]).0.persist_all(NOW).unwrap();
    let path = scratch.0.join(&report.time).join("a.state");
    let whole = std::fs::read(&path).unwrap();
    let (reader, cells) = process(&scratch, &["k1"], [Value::Null, Value::Null]);
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        for bytes in [&flipped[..], &whole[..at]] {
            std::fs::write(&path, bytes).unwrap();
            let error = reader.restore_all().unwrap_err();
            assert!(matches!(&error, PersistenceError::Damaged { file, .. } if *file == path), "byte {at}: {error}");
        }
    }
    assert_eq!(states(&cells), [Value::Null, Value::Null], "nothing was restored");
    std::fs::remove_file(&path).unwrap();
    assert!(reader.restore_all().unwrap_err().to_string().contains("a.state is damaged: it is missing"));
}

#[test]
fn old_keys_read_the_newest_writes_and_after_a_rotation_the_old_one_can_go() {
    let scratch = Scratch::new();
    process(&scratch, &["old"], [json!(1), json!(2)]).0.persist_all(NOW).unwrap();
    let (both, cells) = process(&scratch, &["old", "newer"], [Value::Null, Value::Null]);
    both.restore_all().unwrap().unwrap();
    assert_eq!(states(&cells), [json!(1), json!(2)]);
    let rotated = both.rotate(Stamp(NOW.0 + 1)).unwrap().unwrap();
    assert!(rotated.files.iter().all(|file| file.key_id == "newer"));
    let (newer, cells) = process(&scratch, &["newer"], [Value::Null, Value::Null]);
    newer.restore_all().unwrap().unwrap();
    assert_eq!(states(&cells), [json!(1), json!(2)]);
    assert_eq!(newer.sets().len(), 1, "nothing sealed with the old key is left");
}

/// The file system until its steps are used up; the step that fails is half done.
struct Crashing {
    left: usize,
}

impl Crashing {
    fn step(&mut self) -> std::io::Result<()> {
        let crash = || std::io::Error::other("crash");
        self.left = self.left.checked_sub(1).ok_or_else(crash)?;
        Ok(())
    }
}

impl Disk for Crashing {
    fn make_directory(&mut self, path: &Path) -> std::io::Result<()> {
        self.step()?;
        FileSystem.make_directory(path)
    }

    fn write(&mut self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        if let Err(crash) = self.step() {
            FileSystem.write(path, &bytes[..bytes.len() / 2])?;
            return Err(crash);
        }
        FileSystem.write(path, bytes)
    }

    fn flush_directory(&mut self, path: &Path) -> std::io::Result<()> {
        self.step()?;
        FileSystem.flush_directory(path)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.step()?;
        FileSystem.rename(from, to)
    }

    fn remove(&mut self, path: &Path) -> std::io::Result<()> {
        self.step()?;
        FileSystem.remove(path)
    }
}

#[test]
fn a_crash_before_any_step_leaves_the_old_set_or_the_new_one_whole() {
    let (mut old, mut new, mut left) = (0, 0, 0);
    loop {
        let scratch = Scratch::new();
        // As many old sets as are kept, so that the new one removes one too.
        for second in 0..SETS_KEPT as u64 {
            let (before, _) = process(&scratch, &["k1"], [json!("old"), json!("old")]);
            before.persist_all(Stamp(NOW.0 + second)).unwrap();
        }
        let (writer, _) = process(&scratch, &["k1"], [Value::Null, Value::Null]);
        let states_now = [("a".to_owned(), json!("new")), ("b".to_owned(), json!("new"))];
        let outcome = writer.write_set(&mut Crashing { left }, Stamp(NOW.0 + 1_000), &states_now);
        let (after, cells) = process(&scratch, &["k1"], [Value::Null, Value::Null]);
        after.restore_all().unwrap().unwrap();
        match states(&cells) {
            [a, b] if a == b && a == json!("old") => old += 1,
            [a, b] if a == b && a == json!("new") => new += 1,
            mixed => panic!("after {left} steps: {mixed:?}"),
        }
        // The next process writes as if nothing had been, and clears away what is unfinished.
        after.persist_all(Stamp(NOW.0 + 2_000)).unwrap();
        let names = std::fs::read_dir(&scratch.0).unwrap().flatten().map(|e| e.file_name().into_string().unwrap());
        assert!(names.into_iter().all(|name| !name.ends_with(PARTIAL)), "after {left} steps");
        if outcome.is_ok() {
            break;
        }
        left += 1;
    }
    assert_eq!((old, new), (6, 3), "six steps before the rename counts; the rest after it");
}

#[test]
fn keys_come_by_reference_and_are_never_shown() {
    let scratch = Scratch::new();
    std::fs::create_dir_all(&scratch.0).unwrap();
    let path = scratch.0.join("key");
    std::fs::write(&path, format!("{}\n", "ab".repeat(32))).unwrap();
    let reference = format!("k1=file:{}", path.display());
    let ring = KeyRing::load([reference.as_str()]).unwrap();
    assert_eq!((ring.newest().secret(), format!("{ring:?}").as_str()), (&[0xab; 32], "KeyRing([StateKey(k1)])"));
    std::fs::write(&path, "abab").unwrap();
    let short = KeyRing::load([reference.as_str()]).unwrap_err().to_string();
    assert!(short.contains("64 hexadecimal digits") && !short.contains("abab"), "{short}");
    for (reference, part) in [
        ("k1", "NAME=file:PATH"),
        ("k1=env:CSF_NO_SUCH", "not set"),
        ("k1=file:/no/such", "cannot be read"),
        ("k1=x:y", "NAME=file"),
    ] {
        let error = KeyRing::load([reference]).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains(reference), "{error}");
    }
    assert!(matches!(KeyRing::load([]), Err(PersistenceError::NoKey)));
}
