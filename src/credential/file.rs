//! Reads a credential without believing half of one.
//!
//! Owns the way to it: the file or the variable, which doubt a look leaves, and why a refresh by quotad would not be
//! safe. What the content means is the provider's to say. Never writes, and never quotes the file in a message.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use secrecy::{ExposeSecret, SecretSlice};
use serde_json::Value;

use super::identity::IdentityFile;
use super::item_table;
use super::secret::{FingerprintKey, Tokens};
use super::vendor_lock::{self, LockState};
use crate::disk;
use crate::model::{Credential, CredentialOwner, Login, ProviderId, Whereabouts};
use crate::paths::login_places;
use crate::provider::store::{Form, Stored};
use crate::provider::{self, Provider, field};

/// Larger credential files are not read.
const LARGEST: u64 = 1 << 20;

/// A writer that truncates in place leaves half a file for a moment.
pub const TORN: &[Duration] =
    &[Duration::from_millis(50), Duration::from_millis(100), Duration::from_millis(150), Duration::from_secs(1)];
/// A file just being replaced is not absent.
pub const MISSING: &[Duration] = &[Duration::from_secs(5)];

/// What one look at the file found.
#[derive(Debug)]
pub struct Found {
    /// The facts.
    pub credential: Credential,
    /// How long to wait before each further look that must find the same before it is believed; empty when one look
    /// is enough.
    pub doubt: &'static [Duration],
    /// What a person should put right, although it keeps nothing from working.
    pub warning: Option<String>,
    /// A vendor's CLI holds one of its locks at this moment.
    pub in_use: bool,
    /// The secrets; with a login only.
    pub contents: Option<Contents>,
}

/// What a login was stored as, as of one moment.
#[derive(Debug)]
pub struct Contents {
    /// Its tokens.
    pub tokens: Tokens,
    /// The file they stand in; `None` for a variable.
    pub file: Option<Held>,
}

/// A credential file as of one moment.
#[derive(Debug)]
pub struct Held {
    /// Its bytes, for [`super::edit::edit`].
    pub raw: SecretSlice<u8>,
    /// The file itself, behind all symlinks.
    pub real_path: PathBuf,
    /// Its inode, times, owner and mode.
    pub metadata: Metadata,
}

/// One credential file, or a variable that holds a key.
#[derive(Debug)]
pub struct CredentialFile {
    whereabouts: Whereabouts,
    provider: ProviderId,
    owner: CredentialOwner,
    /// Where the account's uuid may stand, first found first taken.
    identities: Box<[IdentityFile]>,
    /// Where vendors' clients keep logins of their own, for a grant of quotad's: it never lies there, however its path
    /// is spelt.
    stores: Vec<PathBuf>,
}

impl CredentialFile {
    /// The credential at `whereabouts` of an account of `provider`, written by `owner`. `home` is the user's home
    /// directory: for the default directory `~/.claude` the identity may stand in `~/.claude.json`.
    pub fn new(whereabouts: Whereabouts, provider: ProviderId, owner: CredentialOwner, home: Option<&Path>) -> Self {
        let dir = whereabouts.file().map(directory);
        let default = home.filter(|home| dir.is_some_and(|dir| home.join(".claude") == dir));
        let name = provider::of(provider).store().account_file;
        let files =
            [dir, default].into_iter().flatten().zip(name.into_iter().cycle()).map(|(dir, name)| dir.join(name));
        let identities = files.map(IdentityFile::new).collect();
        let own_grant = home.filter(|_| owner == CredentialOwner::Quotad);
        let stores = own_grant.map(|home| login_places(home, |_| None)).unwrap_or_default();
        let stores = stores.into_iter().map(|place| place.usual).collect();
        Self { whereabouts, provider, owner, identities, stores }
    }

    /// Where it lies, as configured.
    pub fn whereabouts(&self) -> &Whereabouts {
        &self.whereabouts
    }

    /// The file as configured; empty for a variable, which is never written.
    pub fn path(&self) -> &Path {
        self.whereabouts.file().unwrap_or(Path::new(""))
    }

    /// Looks at it once. A verdict with [`Found::doubt`] is provisional.
    pub fn look(&mut self, key: &FingerprintKey) -> Found {
        match self.whereabouts.clone() {
            Whereabouts::File(path) => self.look_at_file(&path, key),
            Whereabouts::Variable(name) => self.look_at_variable(&name, key),
        }
    }

    fn look_at_variable(&self, name: &str, key: &FingerprintKey) -> Found {
        let Ok(value) = std::env::var(name) else { return found(Credential::Absent) };
        match make_out(self.provider(), Value::String(value), key) {
            Ok(Shape::Login(tokens, login)) => {
                Found { contents: Some(Contents { tokens, file: None }), ..found(Credential::Login(*login)) }
            }
            Ok(Shape::SignedOut | Shape::NoLogin) => found(Credential::Absent),
            Err(Damage { said, .. }) => self.unreadable(said),
        }
    }

    fn look_at_file(&mut self, path: &Path, key: &FingerprintKey) -> Found {
        let (raw, metadata, real_path) = match read_regular(path, self.wanted()) {
            Ok(read) => read,
            Err(Refused(cause)) if cause.kind() == ErrorKind::NotFound => {
                return Found { doubt: MISSING, ..found(Credential::Absent) };
            }
            Err(refused) => return self.unreadable(&refused.sentence(LARGEST)),
        };
        let warning = exposed_because(path, &metadata);
        let understood = match self.provider().store().form {
            Form::ItemTable(keys) => item_table::read(&real_path, keys)
                .map_err(|said| Damage { said, doubt: TORN })
                .and_then(|content| make_out(self.provider(), content, key)),
            Form::Json | Form::Text => understand(self.provider(), raw.expose_secret(), key),
        };
        let (tokens, mut login) = match understood {
            Ok(Shape::Login(tokens, login)) => (tokens, *login),
            Ok(Shape::SignedOut) => return Found { warning, ..found(Credential::SignedOut) },
            Ok(Shape::NoLogin) => return Found { warning, ..found(Credential::NoLogin) },
            Err(Damage { said, doubt }) => return Found { doubt, warning, ..self.unreadable(said) },
        };
        login.identity = login.identity.or_else(|| self.identities.iter_mut().find_map(IdentityFile::uuid));
        login.modified_at = metadata.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
        let vendor = self.owner == CredentialOwner::Vendor;
        let locks = match vendor {
            true if path == real_path => vendor_lock::observe_real(directory(path)),
            true => vendor_lock::observe(directory(path)),
            false => Vec::new(),
        };
        login.unsafe_because = self.unsafe_because(&real_path, &metadata, &locks);
        let contents = Some(Contents { tokens, file: Some(Held { raw, real_path, metadata }) });
        // One of the vendor's clients is at work on the file right now.
        let in_use = locks.iter().any(|lock| matches!(lock.state, LockState::Fresh(_)));
        Found { credential: Credential::Login(login), doubt: &[], warning, in_use, contents }
    }

    /// Whether no more than a few kilobytes are read of it.
    pub fn is_small(&self) -> bool {
        matches!(self.provider().store().form, Form::Json | Form::Text)
    }

    /// What is read of the file: of a database nothing, since SQLite reads it.
    fn wanted(&self) -> Wanted {
        match self.provider().store().form {
            Form::Json | Form::Text => Wanted::Whole(LARGEST),
            Form::ItemTable(_) => Wanted::Nothing,
        }
    }

    fn provider(&self) -> &'static dyn Provider {
        provider::of(self.provider)
    }

    fn unreadable(&self, why: &str) -> Found {
        found(Credential::Unreadable(format!("{} {why}", self.whereabouts)))
    }

    /// Why a refresh by quotad could lose this login: a sentence, the gravest reason first. `None` when it is safe as
    /// far as the file, its directories and the vendor's `locks` tell; `real_path` is the file behind all symlinks.
    fn unsafe_because(&self, real_path: &Path, metadata: &Metadata, locks: &[vendor_lock::Standing]) -> Option<String> {
        let path = self.path().display();
        let dir = directory(real_path);
        let vendor = self.owner == CredentialOwner::Vendor;
        let is_elsewhere = self.path() != real_path;
        if vendor && is_elsewhere && fs::symlink_metadata(self.path()).is_ok_and(|link| link.is_symlink()) {
            return Some(format!(
                "{path} is a symlink, which the vendor's CLI replaces by a file of its own, so that two copies of the \
                 login drift apart; put the file itself there, or link its directory"
            ));
        }
        if self.stores.iter().any(|store| fs::canonicalize(store).is_ok_and(|store| store == real_path)) {
            return Some(format!(
                "{path} is the file of the vendor's CLI by another name, so that both would spend one refresh token; \
                 log in to a directory of quotad's own"
            ));
        }
        if !disk::is_own(metadata) {
            return Some(format!("{path} belongs to another user; chown it to the user quotad runs as"));
        }
        if metadata.nlink() > 1 {
            return Some(format!("{path} has a second hard link, which would keep the spent tokens; remove one"));
        }
        if let Some(exposed) = exposed_because(self.path(), metadata) {
            return Some(exposed);
        }
        if vendor && metadata.mode() & 0o200 == 0 {
            return Some(format!("{path} is read-only, so its CLI could not store what it is given; chmod 600 {path}"));
        }
        if disk::is_mount_point(real_path) {
            return Some(format!("{path} is a mount point of its own and cannot be replaced; mount its directory"));
        }
        if disk::is_remote(real_path).unwrap_or(true) {
            return Some(format!("{path} lies on a network or FUSE file system, where locks and renames prove little"));
        }
        // The vendor's locks lie in the directory, which is the file's own as that is no symlink, and beside it.
        for needed in [Some(dir), vendor.then(|| directory(dir))].into_iter().flatten() {
            if !disk::is_writable_dir(needed) {
                let needed = needed.display();
                return Some(format!(
                    "{needed} is not writable for quotad (chmod u+rwx, or ReadWritePaths= of the unit)"
                ));
            }
        }
        locks.iter().find(|lock| matches!(lock.state, LockState::Poisoned(_))).map(ToString::to_string)
    }
}

fn found(credential: Credential) -> Found {
    Found { credential, doubt: &[], warning: None, in_use: false, contents: None }
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn exposed_because(path: &Path, metadata: &Metadata) -> Option<String> {
    let mode = metadata.mode() & 0o777;
    let path = path.display();
    (mode & 0o077 != 0).then(|| format!("{path} is open to other users (mode {mode:04o}); close it: chmod 600 {path}"))
}

/// What the bytes of a credential file came to.
#[derive(Debug)]
pub enum Shape {
    /// A login, as far as the file itself tells: whose it is, when it was written and whether it lies safely are
    /// facts of the place.
    Login(Tokens, Box<Login>),
    /// The vendor emptied the tokens.
    SignedOut,
    /// Other things, but no login.
    NoLogin,
}

/// Why bytes are no credential file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// What is wrong with it and what to do: a clause about the file.
    pub said: &'static str,
    /// See [`Found::doubt`].
    pub doubt: &'static [Duration],
}

/// Reads the bytes of a credential file of this vendor's. Pure: the simulation reads its files with it.
///
/// # Errors
/// [`Damage`].
pub fn understand(provider: &dyn Provider, raw: &[u8], key: &FingerprintKey) -> Result<Shape, Damage> {
    let torn = |said| Damage { said, doubt: TORN };
    if raw.trim_ascii().is_empty() {
        return Err(torn("is empty; log in again"));
    }
    let content = match (field::json(raw), str::from_utf8(raw)) {
        (Some(json), _) => json,
        // No key begins like JSON, but JSON cut short does.
        (None, Ok(text)) if provider.store().form == Form::Text && !text.trim_start().starts_with(['{', '[', '"']) => {
            Value::String(text.to_owned())
        }
        (None, _) => return Err(torn("is not JSON; log in again")),
    };
    make_out(provider, content, key)
}

fn make_out(provider: &dyn Provider, content: Value, key: &FingerprintKey) -> Result<Shape, Damage> {
    let stored = match provider.read_login(content) {
        Ok(Stored::Login(stored)) => stored,
        Ok(Stored::SignedOut) => return Ok(Shape::SignedOut),
        Ok(Stored::NoLogin) => return Ok(Shape::NoLogin),
        Err(said) => return Err(Damage { said, doubt: &[] }),
    };
    let login = Login {
        access: key.fingerprint(&stored.access),
        refresh: stored.refresh.as_ref().map(|token| key.fingerprint(token)),
        expires_at: stored.expires_at,
        login_ends_at: stored.login_ends_at,
        scopes: stored.scopes,
        plan: stored.plan,
        identity: stored.identity,
        modified_at: None,
        unsafe_because: None,
    };
    let tokens = Tokens { access: stored.access, refresh: stored.refresh, tenant: stored.tenant };
    Ok(Shape::Login(tokens, Box::new(login)))
}

/// How much of a file is read.
#[derive(Clone, Copy)]
pub(super) enum Wanted {
    /// All of it, up to so many bytes.
    Whole(u64),
    Nothing,
}

/// Why a file was not read.
pub(super) struct Refused(io::Error);

impl From<io::Error> for Refused {
    fn from(cause: io::Error) -> Self {
        Self(cause)
    }
}

impl Refused {
    fn sentence(&self, largest: u64) -> String {
        match self.0.kind() {
            ErrorKind::PermissionDenied => "may not be read by quotad; chown it to the user quotad runs as".to_owned(),
            ErrorKind::IsADirectory => "is a directory; move it away and log in again".to_owned(),
            ErrorKind::InvalidInput => "is not a regular file; move it away and log in again".to_owned(),
            ErrorKind::FileTooLarge => {
                format!("is larger than {} MiB and cannot be a credential file; log in again", largest >> 20)
            }
            _ => format!("cannot be read: {}", self.0),
        }
    }
}

/// The bytes and the facts of a regular file, and where it lies behind all symlinks. Never waits for a writer of a fifo.
pub(super) fn read_regular(path: &Path, wanted: Wanted) -> Result<(SecretSlice<u8>, Metadata, PathBuf), Refused> {
    let (file, real_path) = open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::from(ErrorKind::IsADirectory).into());
    }
    if !metadata.is_file() {
        return Err(io::Error::from(ErrorKind::InvalidInput).into());
    }
    let Wanted::Whole(largest) = wanted else { return Ok((Vec::new().into(), metadata, real_path)) };
    let mut raw = Vec::with_capacity(usize::try_from(metadata.len().min(largest)).unwrap_or_default() + 1);
    file.take(largest + 1).read_to_end(&mut raw)?;
    let raw = SecretSlice::from(raw);
    if raw.expose_secret().len() as u64 > largest {
        return Err(io::Error::from(ErrorKind::FileTooLarge).into());
    }
    Ok((raw, metadata, real_path))
}

/// Opens what is at a path, and says where that lies behind all symlinks. Mostly there are none, and the kernel opens it
/// on that condition: to ask about every directory on the way was a thirtieth of the CPU of a poll.
fn open(path: &Path) -> io::Result<(File, PathBuf)> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let is_plain = path.is_absolute() && path.components().all(|part| part != Component::ParentDir);
    if is_plain && let Ok(file) = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        return Ok((file.into(), path.to_owned()));
    }
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    Ok((file, fs::canonicalize(path)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use serde_json::Map;
    use tempfile::TempDir;

    const LOGIN: &str = "claudeAiOauth";

    const FULL: &str = r#"{"claudeAiOauth":{"accessToken":"sk-ant-oat01-FAKE-A","refreshToken":"sk-ant-ort01-FAKE-R",
        "expiresAt":1789400000000,"refreshTokenExpiresAt":1791000000000,"scopes":["user:inference","user:profile"],
        "subscriptionType":"max","rateLimitTier":"default_claude_max_20x"},
        "mcpOAuth":{"s|1":{"accessToken":"FAKE-MCP"}}}"#;

    fn key() -> FingerprintKey {
        FingerprintKey::new(&[1; 32])
    }

    /// A home with `.claude` in it.
    fn home() -> (TempDir, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".claude")).unwrap();
        let path = home.path().join(".claude/.credentials.json");
        (home, path)
    }

    fn write(path: &Path, bytes: impl AsRef<[u8]>) {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }

    fn claude(owner: CredentialOwner, path: &Path, home: Option<&Path>) -> CredentialFile {
        CredentialFile::new(Whereabouts::File(path.into()), ProviderId::new("claude"), owner, home)
    }

    fn look_as(owner: CredentialOwner, path: &Path) -> Found {
        claude(owner, path, None).look(&key())
    }

    fn look(path: &Path) -> Found {
        look_as(CredentialOwner::Vendor, path)
    }

    fn look_at(text: impl AsRef<[u8]>) -> Found {
        let (_home, path) = home();
        write(&path, text);
        look(&path)
    }

    fn login_at(text: &str) -> Login {
        let found = look_at(text);
        found.credential.login().cloned().unwrap_or_else(|| panic!("{found:?}"))
    }

    fn unsafe_because(owner: CredentialOwner, path: &Path) -> Option<String> {
        look_as(owner, path).credential.login().unwrap().unsafe_because.clone()
    }

    #[test]
    fn a_login_is_read_whole() {
        let (_home, path) = home();
        write(&path, FULL);
        let found = look(&path);
        let contents = found.contents.as_ref().unwrap();
        let held = contents.file.as_ref().unwrap();
        let name = |token: &str| key().fingerprint(&token.into());
        let login = found.credential.login().unwrap();
        assert_eq!(login.access, name("sk-ant-oat01-FAKE-A"));
        assert_eq!(login.refresh, Some(name("sk-ant-ort01-FAKE-R")));
        assert_eq!(login.expires_at.unwrap().as_millisecond(), 1_789_400_000_000);
        assert_eq!(login.login_ends_at.unwrap().as_millisecond(), 1_791_000_000_000);
        assert_eq!(login.scopes.as_ref().unwrap(), &["user:inference", "user:profile"]);
        assert_eq!(login.plan.as_deref(), Some("max_20x"));
        assert_eq!(login.identity, None);
        assert_eq!(login.unsafe_because, None);
        assert!(login.modified_at.is_some() && found.warning.is_none() && found.doubt.is_empty());
        assert_eq!(contents.tokens.access.expose_secret(), "sk-ant-oat01-FAKE-A");
        assert_eq!(held.raw.expose_secret(), FULL.as_bytes());
        assert_eq!(held.real_path, fs::canonicalize(&path).unwrap());
        assert!(!format!("{found:?}").contains("FAKE"), "{found:?}");
    }

    #[test]
    fn every_shape_without_a_login_is_told_apart() {
        let stub = r#"{"claudeAiOauth":{"accessToken":"","refreshToken":"","expiresAt":0,"scopes":["a"]}}"#;
        for (text, wanted) in [
            (stub, Credential::SignedOut),
            (r#"{"claudeAiOauth":{"accessToken":null,"expiresAt":null}}"#, Credential::SignedOut),
            (r#"{"claudeAiOauth":{}}"#, Credential::SignedOut),
            (r#"{"mcpOAuth":{"s|1":{"accessToken":"FAKE-MCP","refreshToken":"FAKE"}}}"#, Credential::NoLogin),
            (r#"{"claudeAiOauth":null,"accessToken":"FAKE"}"#, Credential::NoLogin),
            ("{}", Credential::NoLogin),
        ] {
            let found = look_at(text);
            assert_eq!(found.credential, wanted, "{text}");
            assert!(found.doubt.is_empty() && found.contents.is_none());
        }
    }

    #[test]
    fn a_half_written_file_is_doubted_and_a_wrong_one_is_not() {
        let half = &FULL[..FULL.len() / 2];
        for (bytes, torn) in [
            (&b""[..], true),
            (b" \n", true),
            (half.as_bytes(), true),
            (b"\x7fELF\x00\xff\xfe", true),
            (b"[]", false),
            (b"7", false),
            (br#"{"claudeAiOauth":"FAKE"}"#, false),
            (br#"{"claudeAiOauth":{"accessToken":7}}"#, false),
            (br#"{"claudeAiOauth":{"accessToken":"sk FAKE\n"}}"#, false),
            (br#"{"claudeAiOauth":{"accessToken":"","refreshToken":"FAKE"}}"#, false),
        ] {
            let found = look_at(bytes);
            let Credential::Unreadable(why) = &found.credential else { panic!("{bytes:?} {found:?}") };
            assert!(why.contains(".credentials.json") && !why.contains("FAKE"), "{why}");
            assert_eq!(found.doubt, if torn { TORN } else { &[] }, "{why}");
        }
    }

    #[test]
    fn a_key_file_holds_a_key_and_never_half_of_something_else() {
        let zai = provider::of(ProviderId::new("zai"));
        for (text, expected) in [
            ("FAKE-KEY\n", "a key"),
            (r#"{"apiKey":"FAKE-KEY"}"#, "a key"),
            (r#"{"apiKey":"FAKE-K"#, "torn"),
            (r#"["FAKE-K"#, "torn"),
            (r#""FAKE-K"#, "torn"),
            (" {\n", "torn"),
            ("FAKE KEY", "wrong"),
            ("FAKE\tKEY", "wrong"),
            ("FAKE-KEY\n# of the team", "wrong"),
        ] {
            let found = match understand(zai, text.as_bytes(), &key()) {
                Ok(Shape::Login(..)) => "a key",
                Ok(shape) => panic!("{text}: {shape:?}"),
                Err(Damage { doubt: [], .. }) => "wrong",
                Err(_) => "torn",
            };
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_readable_file_gets_a_sentence() {
        let (_home, path) = home();
        let found = look(&path);
        assert_eq!((found.credential, found.doubt), (Credential::Absent, MISSING));

        let why = |path: &Path| match look(path).credential {
            Credential::Unreadable(why) => why,
            other => panic!("{other:?}"),
        };
        fs::create_dir(&path).unwrap();
        assert!(why(&path).contains("is a directory"));
        fs::remove_dir(&path).unwrap();
        rustix::fs::mknodat(CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(why(&path).contains("not a regular file"));
        fs::remove_file(&path).unwrap();
        write(&path, vec![b' '; 10 << 20]);
        assert!(why(&path).contains("larger than 1 MiB"));
        assert!(why(&path.join("below")).contains("cannot be read"));
        fs::remove_file(&path).unwrap();
        symlink(".credentials.json", &path).unwrap();
        assert!(why(&path).contains("cannot be read"), "a loop of symlinks");
    }

    #[test]
    fn a_field_of_an_odd_type_costs_that_field_only() {
        let with = |field: &str| login_at(&format!(r#"{{"claudeAiOauth":{{"accessToken":"FAKE",{field}}}}}"#));
        for (value, millis) in [
            ("0", None),
            ("null", None),
            ("-5", None),
            ("\"\"", None),
            ("{}", None),
            ("1e300", None),
            ("\"NaN\"", None),
            ("1789400000000.5", Some(1_789_400_000_001)),
            ("\"1789400000000\"", Some(1_789_400_000_000)),
            ("1789400000", Some(1_789_400_000_000)),
        ] {
            let at = with(&format!(r#""expiresAt":{value}"#)).expires_at;
            assert_eq!(at.map(Timestamp::as_millisecond), millis, "{value}");
        }
        for value in ["null", "[]", "[7]", "\"\"", "{}"] {
            assert_eq!(with(&format!(r#""scopes":{value}"#)).scopes, None, "{value}");
        }
        assert_eq!(with(r#""scopes":["a",7,"b"]"#).scopes.unwrap(), ["a", "b"]);
        for refresh in ["null", "\"\"", "7", "\"a b\""] {
            assert_eq!(with(&format!(r#""refreshToken":{refresh}"#)).refresh, None);
        }
    }

    #[test]
    fn the_identity_is_taken_from_the_directory_first_and_follows_the_file() {
        let (home, path) = home();
        write(&path, FULL);
        let account =
            |uuid: &str| format!(r#"{{"projects":{{"oauthAccount":1}},"oauthAccount":{{"accountUuid":"{uuid}"}}}}"#);
        let mut file = claude(CredentialOwner::Vendor, &path, Some(home.path()));
        let mut identity = || file.look(&key()).credential.login().unwrap().identity.clone();
        assert_eq!(identity(), None);
        write(&home.path().join(".claude.json"), account("u-1"));
        assert_eq!(identity().as_deref(), Some("u-1"));
        write(&home.path().join(".claude.json"), account("u-two"));
        assert_eq!(identity().as_deref(), Some("u-two"));
        write(&home.path().join(".claude/.claude.json"), account("u-3"));
        assert_eq!(identity().as_deref(), Some("u-3"));
        write(&home.path().join(".claude/.claude.json"), "{\"oauthAccount\":");
        assert_eq!(identity().as_deref(), Some("u-two"));
        fs::remove_file(home.path().join(".claude.json")).unwrap();
        assert_eq!(identity(), None);

        write(&home.path().join(".claude.json"), account("u-4"));
        let elsewhere = home.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        write(&elsewhere.join(".credentials.json"), FULL);
        let mut other = claude(CredentialOwner::Vendor, &elsewhere.join(".credentials.json"), Some(home.path()));
        assert_eq!(other.look(&key()).credential.login().unwrap().identity, None, "that is another login's");
    }

    #[test]
    fn the_file_of_one_vendor_says_nothing_of_the_account_of_another() {
        let home = tempfile::tempdir().unwrap();
        write(&home.path().join(".claude.json"), r#"{"oauthAccount":{"accountUuid":"u-1"}}"#);
        let path = home.path().join("zai.key");
        write(&path, "FAKE-KEY");
        let zai = ProviderId::new("zai");
        let mut file =
            CredentialFile::new(Whereabouts::File(path.into()), zai, CredentialOwner::Vendor, Some(home.path()));
        assert_eq!(file.look(&key()).credential.login().unwrap().identity, None);
    }

    #[test]
    fn a_grant_of_quotads_own_that_is_the_clis_file_by_another_name_is_never_refreshed() {
        let home = tempfile::tempdir().unwrap();
        let dotfiles = home.path().join("dotfiles");
        fs::create_dir(&dotfiles).unwrap();
        let path = dotfiles.join(".credentials.json");
        write(&path, FULL);
        let unsafe_because = |owner| {
            let found = claude(owner, &path, Some(home.path())).look(&key());
            found.credential.login().unwrap().unsafe_because.clone()
        };
        assert_eq!(unsafe_because(CredentialOwner::Quotad), None);
        symlink(&dotfiles, home.path().join(".claude")).unwrap();
        assert!(unsafe_because(CredentialOwner::Quotad).unwrap().contains("by another name"));
        assert_eq!(unsafe_because(CredentialOwner::Vendor), None);
    }

    #[test]
    fn an_exposed_file_is_read_with_a_warning_and_never_written() {
        let (_home, path) = home();
        write(&path, FULL);
        for mode in [0o644, 0o640, 0o604] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let found = look(&path);
            let warning = found.warning.unwrap();
            assert!(warning.contains("chmod 600"), "{warning}");
            assert_eq!(found.credential.login().unwrap().unsafe_because, Some(warning));
        }
        fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        let found = look(&path);
        assert_eq!(found.warning, None);
        let login = found.credential.login().cloned().unwrap();
        assert!(login.unsafe_because.unwrap().contains("is read-only"), "its CLI cannot write it either");
    }

    #[test]
    fn a_symlinked_file_is_unsafe_for_the_vendors_and_followed_for_our_own() {
        let (home, path) = home();
        let real = home.path().join("dotfiles");
        fs::create_dir(&real).unwrap();
        write(&real.join("cred.json"), FULL);
        symlink(home.path().join("hop"), &path).unwrap();
        symlink("dotfiles/cred.json", home.path().join("hop")).unwrap();
        assert!(unsafe_because(CredentialOwner::Vendor, &path).unwrap().contains("symlink"));
        assert_eq!(unsafe_because(CredentialOwner::Quotad, &path), None);
        let held = look(&path).contents.unwrap().file.unwrap();
        assert_eq!(held.real_path, fs::canonicalize(real.join("cred.json")).unwrap());

        symlink(&real, home.path().join("linked")).unwrap();
        let by_directory = home.path().join("linked/cred.json");
        assert_eq!(unsafe_because(CredentialOwner::Vendor, &by_directory), None, "a linked directory is fine");
        for way in ["linked/cred.json", "dotfiles/../dotfiles/cred.json", "dotfiles/./cred.json"] {
            let held = look(&home.path().join(way)).contents.unwrap().file.unwrap();
            assert_eq!(held.real_path, fs::canonicalize(real.join("cred.json")).unwrap(), "{way}");
        }
    }

    #[test]
    fn a_hard_link_a_foreign_owner_and_a_poisoned_lock_are_unsafe_and_a_held_lock_is_not() {
        let (home, path) = home();
        write(&path, FULL);
        let lock = home.path().join(".claude/.oauth_refresh.lock");
        fs::write(&lock, "").unwrap();
        assert!(unsafe_because(CredentialOwner::Vendor, &path).unwrap().contains("not a directory"));
        assert_eq!(unsafe_because(CredentialOwner::Quotad, &path), None, "our own grant takes no vendor lock");
        fs::remove_file(&lock).unwrap();
        fs::create_dir(&lock).unwrap();
        assert_eq!(unsafe_because(CredentialOwner::Vendor, &path), None);
        if std::os::unix::fs::chown(&path, Some(65_534), None).is_ok() {
            assert!(unsafe_because(CredentialOwner::Quotad, &path).unwrap().contains("another user"));
            std::os::unix::fs::chown(&path, Some(rustix::process::geteuid().as_raw()), None).unwrap();
        }
        fs::hard_link(&path, home.path().join("second")).unwrap();
        assert!(unsafe_because(CredentialOwner::Quotad, &path).unwrap().contains("hard link"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_stands_beside_and_in_the_login_its_own_tokens_are_read(
            beside in prop::collection::btree_map("[a-z]{1,6}", "\\PC{0,20}", 0..4),
            within in prop::collection::btree_map("[a-z]{1,6}", prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), any::<i64>().prop_map(Value::from)], 0..4),
            access in "[!-~]{1,40}",
            refresh in prop::option::of("[!-~]{1,40}"),
            pretty: bool,
        ) {
            let mut root: Map<String, Value> = beside.into_iter().map(|(name, text)| (name, text.into())).collect();
            let mut login: Map<String, Value> = within.into_iter().collect();
            login.insert("accessToken".to_owned(), access.clone().into());
            login.insert("refreshToken".to_owned(), refresh.clone().into());
            root.insert(LOGIN.to_owned(), login.into());
            let text = if pretty { serde_json::to_string_pretty(&root) } else { serde_json::to_string(&root) }.unwrap();
            let found = look_at(&text);
            let tokens = &found.contents.as_ref().unwrap().tokens;
            prop_assert_eq!(tokens.access.expose_secret(), access);
            prop_assert_eq!(tokens.refresh.as_ref().map(|token| token.expose_secret().to_owned()), refresh);
            prop_assert_eq!(found.credential.login().unwrap().access, key().fingerprint(&tokens.access));
        }
    }
}
