//! Certificates and keys are made by the `openssl` command; without it these tests say so and pass.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Option<Self> {
        let found = Command::new("openssl").arg("version").output();
        if !found.is_ok_and(|output| output.status.success()) {
            println!("skipped: there is no openssl command here");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        Some(Self { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {said}");
    }

    /// A certificate signed by its own key, as `NAME.pem` and `NAME.key`.
    fn pair(&self, name: &str, kind: &str) {
        self.openssl(&format!(
            "req -x509 -newkey {kind} -nodes -keyout {name}.key -out {name}.pem -days 2 -subj /CN=localhost"
        ));
    }

    fn check(&self, certificate: &str, key: &str) -> Result<(), String> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        check(&Tls {
            keyfile: text(&self.path(key)),
            certfile: text(&self.path(certificate)),
        })
    }

    /// The refusal, without the folder in it.
    fn refusal(&self, certificate: &str, key: &str) -> String {
        let folder = format!("{}/", self.folder.path().display());
        self.check(certificate, key)
            .unwrap_err()
            .replace(&folder, "")
    }
}

const EC: &str = "ec -pkeyopt ec_paramgen_curve:prime256v1";

#[test]
fn a_key_that_belongs_to_its_certificate_is_accepted() {
    let Some(files) = Files::new() else { return };
    for (name, kind) in [("rsa", "rsa:2048"), ("ec", EC), ("ed", "ed25519")] {
        files.pair(name, kind);
        let checked = files.check(&format!("{name}.pem"), &format!("{name}.key"));
        assert_eq!(checked, Ok(()), "{name}");
    }
    // A chain, the endpoint's own certificate first; and the key in its older form.
    files.write(
        "chain.pem",
        &(files.text("ec.pem") + &files.text("rsa.pem")),
    );
    assert_eq!(files.check("chain.pem", "ec.key"), Ok(()));
    files.openssl("pkey -in ec.key -traditional -out sec1.key");
    assert_eq!(files.check("ec.pem", "sec1.key"), Ok(()));
    // Both in one file.
    files.write("both.pem", &(files.text("ec.key") + &files.text("ec.pem")));
    assert_eq!(files.check("both.pem", "both.pem"), Ok(()));
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let Some(files) = Files::new() else { return };
    files.pair("one", EC);
    files.pair("two", EC);
    let refusal = files.refusal("one.pem", "two.key");
    let expected = "service.tls.keyfile 'two.key' does not belong to the certificate in 'one.pem'.";
    assert!(refusal.starts_with(expected), "{refusal}");
    files.write(
        "wrong-order.pem",
        &(files.text("two.pem") + &files.text("one.pem")),
    );
    let refusal = files.refusal("wrong-order.pem", "one.key");
    assert!(refusal.contains("comes first"), "{refusal}");
}

#[test]
fn a_file_that_is_not_what_it_should_be_is_named() {
    let Some(files) = Files::new() else { return };
    files.pair("one", EC);
    files.openssl("pkey -in one.key -aes256 -passout pass:secret -out locked.key");
    files.openssl("genpkey -algorithm ec -pkeyopt ec_paramgen_curve:secp256k1 -out odd.key");
    files.write("empty", "");
    let key = files.text("one.key");
    files.write("torn.key", key.trim_end().trim_end_matches('-'));
    let scratched = key.replacen('\n', "\n!!", 1);
    files.write("scratched.key", &scratched);
    files.write(
        "nonsense.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    files.write("large", &"x".repeat(1024 * 1024 + 1));
    std::fs::create_dir(files.path("folder")).unwrap();
    for (certificate, key, expected) in [
        (
            "none",
            "one.key",
            "service.tls.certfile 'none' does not exist.",
        ),
        (
            "one.pem",
            "none",
            "service.tls.keyfile 'none' does not exist.",
        ),
        (
            "folder",
            "one.key",
            "service.tls.certfile 'folder' is not a file.",
        ),
        (
            "large",
            "one.key",
            "service.tls.certfile 'large' is larger than",
        ),
        (
            "empty",
            "one.key",
            "service.tls.certfile 'empty' holds no certificate",
        ),
        (
            "one.key",
            "one.key",
            "service.tls.certfile 'one.key' holds no certificate",
        ),
        (
            "one.pem",
            "one.pem",
            "service.tls.keyfile 'one.pem' holds no private key",
        ),
        (
            "one.pem",
            "locked.key",
            "service.tls.keyfile 'locked.key' holds a private key that is encrypted",
        ),
        (
            "one.pem",
            "odd.key",
            "service.tls.keyfile 'odd.key' holds a private key of a kind",
        ),
        (
            "one.pem",
            "torn.key",
            "service.tls.keyfile 'torn.key' is not valid PEM: an -----END",
        ),
        (
            "one.pem",
            "scratched.key",
            "service.tls.keyfile 'scratched.key' is not valid PEM: ",
        ),
        (
            "nonsense.pem",
            "one.key",
            "service.tls.certfile 'nonsense.pem' holds a certificate that cannot",
        ),
    ] {
        let refusal = files.refusal(certificate, key);
        assert!(refusal.starts_with(expected), "{refusal}");
        let line = scratched.lines().nth(1).unwrap_or_default();
        assert!(!refusal.contains(line), "the key itself is in: {refusal}");
    }
}
