//! A container: a process in a network and a mount namespace.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::{Container, Pod};

use super::{
    super::{netns::Netns, process::Process},
    Image,
    env::expand,
};

/// Mount namespaces come from `ip netns exec`, which makes a private one. The root is a tmpfs with the folders of the
/// host bound into it, so that a mount path can be made without a trace on the host.
const SCRIPT: &str = r#"
set -e
root=$1; readonly=$2; shift 2
mount -t tmpfs -o mode=755 none "$root"
for entry in /*; do
    name=${entry#/}
    case $name in run|var|tmp|etc|image) continue ;; esac
    if [ -L "$entry" ]; then cp -P "$entry" "$root/$name"
    elif [ -d "$entry" ]; then mkdir "$root/$name"; mount --rbind "$entry" "$root/$name"
    fi
done
mkdir -p "$root/run" "$root/tmp" "$root/var/tmp" "$root/etc" "$root/.etc" "$root/image"
chmod 1777 "$root/tmp" "$root/var/tmp"
ln -s ../run "$root/var/run"
mount --bind /etc "$root/.etc"
(cd "$root/etc" && ln -s ../.etc/* .)
while [ "$1" != -- ]; do
    to=$root$2
    if [ -d "$1" ]; then rm -f "$to"; mkdir -p "$to"; else mkdir -p "${to%/*}"; rm -f "$to"; touch "$to"; fi
    mount --bind "$1" "$to"
    [ "$3" = rw ] || mount -o remount,bind,ro "$to"
    shift 3
done
shift
[ "$readonly" = no ] || mount -o remount,bind,ro "$root"
exec chroot "$root" setpriv "$@"
"#;

/// One bind mount.
pub(super) struct Mount {
    pub(super) from: PathBuf,
    pub(super) to: String,
    pub(super) writable: bool,
}

/// Whether there is more than one user: not in a user namespace of `unshare --map-root-user`.
pub(super) fn has_users() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let ranges = map
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    ranges.sum::<u64>() > 65_535
}

/// Why this container cannot be run here, if so.
pub(super) fn unsupported(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let own = [
        "/usr", "/bin", "/sbin", "/lib", "/proc", "/sys", "/dev", "/root", "/home", "/opt",
    ];
    if spec
        .init_containers
        .as_ref()
        .is_some_and(|list| !list.is_empty())
    {
        return Some("init containers are not supported by the test kit".to_owned());
    }
    let [container] = spec.containers.as_slice() else {
        return Some("several containers are not supported by the test kit".to_owned());
    };
    let mut mounts = container.volume_mounts.iter().flatten();
    let refused = mounts.find(|mount| {
        own.iter().any(|path| {
            mount.mount_path == *path || mount.mount_path.starts_with(&format!("{path}/"))
        })
    })?;
    Some(format!(
        "the test kit cannot mount at {}: that folder is the host's",
        refused.mount_path
    ))
}

/// Starts the container.
pub(super) fn start(
    pod: &Pod,
    container: &Container,
    image: &Image,
    env: &BTreeMap<String, String>,
    mut mounts: Vec<Mount>,
    netns: &Netns,
    (root, log): (&Path, &Path),
) -> Process {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let mut line = Vec::new();
    for file in std::iter::once(&image.program).chain(&image.files) {
        let base = file.file_name().unwrap_or_default().to_string_lossy();
        let to = format!("/image/{base}");
        line.push(to.clone());
        mounts.push(Mount {
            from: file.clone(),
            to,
            writable: false,
        });
    }
    if let Some(command) = container
        .command
        .as_ref()
        .filter(|command| !command.is_empty())
    {
        line = command.iter().map(|word| expand(word, env)).collect();
    }
    line.extend(
        container
            .args
            .iter()
            .flatten()
            .map(|word| expand(word, env)),
    );
    let readonly = container
        .security_context
        .as_ref()
        .and_then(|context| context.read_only_root_filesystem);
    fs::create_dir_all(root).expect("a folder");
    let mut command = netns.command("sh");
    command.args(["-c", SCRIPT, "sh"]).arg(root);
    command.arg(if readonly == Some(true) { "yes" } else { "no" });
    for mount in mounts {
        let mode = if mount.writable { "rw" } else { "ro" };
        command.arg(mount.from).args([&mount.to, mode]);
    }
    command
        .arg("--")
        .args(privileges(pod, container))
        .arg("--")
        .args(line);
    command.env_clear().envs(env);
    Process::start(&name, command, log)
}

/// Options of setpriv(1).
fn privileges(pod: &Pod, container: &Container) -> Vec<String> {
    let of_pod = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.security_context.clone())
        .unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    // A change of user clears what the start has set.
    let mut options = vec!["--pdeathsig".to_owned(), "KILL".to_owned()];
    if own.allow_privilege_escalation == Some(false) {
        options.push("--no-new-privs".to_owned());
    }
    let capabilities = own.capabilities.unwrap_or_default();
    if capabilities.drop.iter().flatten().any(|name| name == "ALL") {
        let added = capabilities.add.into_iter().flatten();
        let set = added.fold("-all".to_owned(), |set, name| {
            set + ",+" + &name.to_lowercase()
        });
        options.push(format!("--bounding-set={set}"));
        options.push("--inh-caps=-all".to_owned());
    }
    let user = own.run_as_user.or(of_pod.run_as_user);
    let group = own.run_as_group.or(of_pod.run_as_group);
    if has_users() && (user.is_some() || group.is_some()) {
        let group = group.unwrap_or(0);
        options.push(format!("--regid={group}"));
        let groups = of_pod
            .fs_group
            .into_iter()
            .chain(of_pod.supplemental_groups.into_iter().flatten());
        let groups: Vec<String> = groups.map(|group| group.to_string()).collect();
        options.push(if groups.is_empty() {
            "--clear-groups".to_owned()
        } else {
            format!("--groups={}", groups.join(","))
        });
        options.extend(user.map(|user| format!("--reuid={user}")));
    }
    options
}
