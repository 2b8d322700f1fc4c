//! The last stage of the Dockerfile, put together from the Debian packages that its base is made of, and the binary
//! in it: as the user of the image, without capabilities, on a read-only root.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use parking_lot::Mutex;
use regex::Regex;

use crate::kit::{client, eventually, manifest, netns::Netns, origin};

/// What the Dockerfile says about its last stage.
struct Stage {
    packages: Vec<String>,
    binary: String,
    user: String,
    entrypoint: Vec<String>,
    cmd: Vec<String>,
    text: String,
}

impl Stage {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Dockerfile");
        let file = fs::read_to_string(path).expect("the Dockerfile");
        let line = |pattern: &str| {
            let found = Regex::new(&format!("(?m)^{pattern}$")).unwrap();
            let found = found.captures_iter(&file).last();
            found.unwrap_or_else(|| panic!("the Dockerfile has no line {pattern}"))[1].to_owned()
        };
        let list = |text: &str| serde_json::from_str(text).expect("the JSON form");
        let packages = line("# base-packages: (.*)");
        let (_, text) = file.rsplit_once("\nFROM ").expect("a last stage");
        Self {
            packages: packages.split(' ').map(str::to_owned).collect(),
            binary: line(r"COPY --from=build /src/target/release/hawser (/\S+)"),
            user: line("USER (.*)"),
            entrypoint: list(&line(r"ENTRYPOINT (\[.*\])")),
            cmd: list(&line(r"CMD (\[.*\])")),
            text: text.to_owned(),
        }
    }
}

/// The file system of an image. Goes when it is dropped.
struct Image {
    stage: Stage,
    root: tempfile::TempDir,
}

impl Image {
    fn assemble() -> Self {
        let stage = Stage::read();
        let root = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        for package in &stage.packages {
            let unpacked = Command::new("dpkg-deb")
                .arg("-x")
                .args([download(package).as_path(), root.path()])
                .output()
                .expect("dpkg-deb (Debian: apt-get install dpkg) unpacks packages");
            assert!(
                unpacked.status.success(),
                "{package}: {}",
                errors(&unpacked)
            );
        }
        let binary = root.path().join(&stage.binary[1..]);
        fs::create_dir_all(binary.parent().expect("a folder")).expect("its folder");
        fs::copy(env!("CARGO_BIN_EXE_hawser"), binary).expect("the binary");
        // Mount points of the container runtime, and the folder that `docker run -v` would make.
        for folder in ["proc", "dev", "routes"] {
            fs::create_dir_all(root.path().join(folder)).expect("a mount point");
        }
        Self { stage, root }
    }

    /// A command in a container of this image: its arguments replace CMD.
    fn command(&self, program: &[String], args: &[&str]) -> Command {
        // Mounts are private to the command and end with it. chroot changes the user last: it needs the right to.
        const ENTER: &str = "set -e
            root=$1 user=$2; shift 2
            mount --bind \"$root\" \"$root\"
            mount --rbind /proc \"$root/proc\"
            mount --rbind /dev \"$root/dev\"
            mount -o remount,bind,ro \"$root\"
            exec setpriv --pdeathsig KILL --no-new-privs --bounding-set=-all,+sys_chroot,+setuid,+setgid \
                chroot --userspec=\"$user\" --groups= \"$root\" \"$@\"";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--", "/bin/sh", "-c", ENTER, "enter"])
            .arg(self.root.path())
            .arg(&self.stage.user)
            .args(program)
            .args(args)
            // An image without ENV has no more than this.
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            );
        command
    }

    fn run(&self, program: &[String], args: &[&str]) -> String {
        let output = self.command(program, args).output().expect("unshare runs");
        assert!(
            output.status.success(),
            "{program:?} {args:?} (this test needs root, to mount and to change the user): {}",
            errors(&output)
        );
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The package file of the release of Debian that this machine has: what the binary of this build is linked to.
fn download(package: &str) -> PathBuf {
    // Tests share the folder: none may take a package that another is still writing.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image-packages");
    fs::create_dir_all(&folder).expect("the folder of packages");
    let there = || {
        let entries = fs::read_dir(&folder).expect("the folder");
        let mut entries = entries.filter_map(|entry| Some(entry.ok()?.path()));
        entries.find(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(&format!("{package}_")))
        })
    };
    if let Some(path) = there() {
        return path;
    }
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        let command = command
            .current_dir(&folder)
            .args(["-q", "-o", "APT::Sandbox::User=root"]);
        command.args(args).output()
    };
    let needed = "this test needs apt-get of Debian and its mirror, once: the packages are kept in the target folder";
    let mut output =
        apt(&["download", package]).unwrap_or_else(|error| panic!("{needed}: {error}"));
    if !output.status.success() {
        // A fresh machine has no lists.
        let _ = apt(&["update"]);
        output = apt(&["download", package]).expect("apt-get runs");
    }
    assert!(
        output.status.success(),
        "{needed}: {package}: {}",
        errors(&output)
    );
    there().expect("apt-get has written the package")
}

#[test]
fn the_image_holds_what_the_binary_needs_and_no_shell() {
    let image = Image::assemble();
    let root = image.root.path();
    for shell in ["sh", "bash", "dash", "ash", "busybox", "zsh"] {
        for folder in ["bin", "usr/bin", "sbin", "usr/sbin", "usr/local/bin"] {
            let path = root.join(folder).join(shell);
            assert!(path.symlink_metadata().is_err(), "{}", path.display());
        }
    }
    // The loader says what it finds, with its own rules, inside.
    let loader = walkdir::WalkDir::new(root)
        .into_iter()
        .filter_map(Result::ok)
        .find(|entry| {
            let name = entry.file_name().to_string_lossy();
            name.starts_with("ld-linux") && entry.file_type().is_file()
        })
        .expect("libc6 has a loader");
    let loader = loader.path().strip_prefix(root).expect("inside");
    let loader = vec![format!("/{}", loader.display())];
    let libraries = image.run(&loader, &["--list", &image.stage.binary]);
    assert!(libraries.contains("libc.so.6"), "{libraries}");
    assert!(!libraries.contains("not found"), "{libraries}");
    let certificates = root.join("usr/share/ca-certificates");
    assert!(certificates.is_dir(), "CA certificates");
}

#[test]
fn the_stage_says_what_runs_and_how() {
    let stage = Stage::read();
    assert_eq!(stage.user, "65532:65532");
    assert_eq!(stage.entrypoint.join(" "), stage.binary);
    for line in [
        "LABEL org.opencontainers.image.",
        "STOPSIGNAL SIGTERM",
        "EXPOSE 8080 ",
    ] {
        assert!(stage.text.contains(line), "{line}");
    }
    assert!(
        !stage.text.contains("\nRUN "),
        "the base has no shell to run anything with"
    );
    assert!(!stage.text.contains(":latest"), "{}", stage.text);
    // The chart's pods run as the same user.
    let values = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/hawser/values.yaml");
    let values = fs::read_to_string(values).expect("the values");
    let (uid, gid) = stage.user.split_once(':').expect("both numbers");
    assert!(values.contains(&format!("runAsUser: {uid}, runAsGroup: {gid}")));
}

#[test]
fn the_build_has_a_file_for_every_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dockerfile = fs::read_to_string(root.join("Dockerfile")).expect("the Dockerfile");
    let stubs = Regex::new(r"(?m)touch (src/lib\.rs .*?) *\\$").unwrap();
    let stubs = &stubs.captures(&dockerfile).expect("the stubs")[1];
    let stubs: Vec<_> = stubs.split_whitespace().collect();
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("the manifest");
    let benches = Regex::new(r#"\[\[bench\]\]\s+name = "(.+)""#).unwrap();
    let named = benches.captures_iter(&manifest);
    let mut wanted: Vec<_> = named
        .map(|bench| format!("benches/{}.rs", &bench[1]))
        .collect();
    assert_eq!(
        wanted.len(),
        manifest.matches("\n[[bench]]").count(),
        "a bench without a name: {manifest}"
    );
    wanted.insert(0, "src/lib.rs".to_owned());
    assert_eq!(stubs, wanted);

    // Cargo itself says that the stage has all that it asks for.
    let stage = tempfile::tempdir().expect("a folder");
    for folder in ["src", "benches"] {
        fs::create_dir(stage.path().join(folder)).expect("a folder");
    }
    for file in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(root.join(file), stage.path().join(file)).expect("a copy");
    }
    for stub in stubs {
        fs::write(stage.path().join(stub), "").expect("a stub");
    }
    fs::write(stage.path().join("src/main.rs"), "fn main() {}").expect("a stub");
    let cargo = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--offline",
            "--no-deps",
            "--format-version",
            "1",
        ])
        .current_dir(stage.path())
        .output()
        .expect("cargo runs");
    assert!(cargo.status.success(), "{}", errors(&cargo));
}

#[test]
fn the_binary_runs_in_the_image() {
    let image = Image::assemble();
    let entrypoint = image.stage.entrypoint.clone();
    let cmd: Vec<&str> = image.stage.cmd.iter().map(String::as_str).collect();
    assert!(image.run(&entrypoint, &cmd).contains("Usage: hawser"));
    assert!(
        image
            .run(&entrypoint, &["crd"])
            .contains("websocketroutes.hawser.dev")
    );
    let netns = Netns::new("image");
    netns.run(async || {
        let pages = origin::http().await;
        let routes = image.root.path().join("routes/main.yaml");
        fs::write(routes, manifest::websocket("chat", "/", &[pages.addr])).expect("the manifest");
        let args = ["run", "--manifests", "/routes", "--log-format=json"];
        let mut hawser = image
            .command(&entrypoint, &args)
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let mut log = BufReader::new(hawser.stderr.take().expect("a pipe")).lines();
        let listening = log.find_map(|line| {
            let line = line.ok()?;
            assert!(!line.contains("unshare:"), "this test needs root: {line}");
            line.contains("listening for HTTP").then_some(())
        });
        assert!(listening.is_some(), "it ended before it listened");
        // What else it logs must not fill the pipe.
        let rest = std::thread::spawn(move || log.count());
        let address: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        eventually("the image serves", async || {
            let answer = client::get(address, "chat.test", "/hello").await.ok()?;
            (answer.status == 200 && answer.text().starts_with("GET /hello")).then_some(())
        })
        .await;

        let status = fs::read_to_string(format!("/proc/{}/status", hawser.id())).expect("status");
        for line in [
            "Uid:\t65532\t65532\t65532\t65532",
            "Gid:\t65532\t65532\t65532\t65532",
            "CapEff:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "NoNewPrivs:\t1",
        ] {
            assert!(status.contains(line), "{line}: {status}");
        }
        let mounts = fs::read_to_string(format!("/proc/{}/mounts", hawser.id())).expect("mounts");
        let root = mounts
            .lines()
            .find(|line| line.split(' ').nth(1) == Some("/"));
        let options = root
            .and_then(|line| line.split(' ').nth(3))
            .expect("a root");
        assert!(options.split(',').any(|option| option == "ro"), "{options}");

        let pid = rustix::process::Pid::from_child(&hawser);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
        let status = hawser.wait().expect("its end");
        assert!(status.success(), "{status}");
        rest.join().expect("the reader");
    });
}
