//! The manifests of the demo, and the folder that holds them.

use std::{
    fs::{self, File, TryLockError},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// `spec.controller` of the demo's IngressClass.
pub(super) const CONTROLLER_NAME: &str = crate::translate::CONTROLLER_NAME;
/// Name of the demo's IngressClass.
pub(super) const INGRESS_CLASS: &str = "hawser";
/// The file that people are asked to edit.
pub(super) const ROUTE_FILE: &str = "route.yaml";

/// First line of every file that the demo writes: a file without it is not the demo's to overwrite.
const MARK: &str = "# Written by `hawser demo` at every start.";
/// Held while a demo runs. Not a manifest by its name.
const LOCK_FILE: &str = ".hawser-demo.lock";

/// What is wrong with the folder.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Another demo runs on it.
    #[error(
        "the folder {} is in use by another demo; choose another with --manifests DIR", .0.display()
    )]
    InUse(PathBuf),
    /// Somebody else's file has a name that the demo uses.
    #[error(
        "{} was not written by the demo and is left alone; choose another folder with --manifests DIR",
        .0.display()
    )]
    NotOurs(PathBuf),
    /// The system refused something.
    #[error("{}: {source}; choose another folder with --manifests DIR", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// A folder that belongs to this demo as long as it runs.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder, locks it, and checks that nothing of somebody else would be overwritten.
    pub(super) fn claim(path: &Path) -> Result<Self, Error> {
        fs::create_dir_all(path).map_err(|source| io_error(path, source))?;
        let path = path
            .canonicalize()
            .map_err(|source| io_error(path, source))?;
        let lock_path = path.join(LOCK_FILE);
        let lock = File::create(&lock_path).map_err(|source| io_error(&lock_path, source))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse(path)),
            Err(TryLockError::Error(source)) => return Err(io_error(&lock_path, source)),
        }
        for (name, _) in files(&[]) {
            let file = path.join(name);
            match fs::read(&file) {
                Ok(text) if text.starts_with(MARK.as_bytes()) => {}
                Ok(_) => return Err(Error::NotOurs(file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(io_error(&file, source)),
            }
        }
        Ok(Self { path, _lock: lock })
    }

    /// Absolute path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all manifests, each by rename. `replicas`: name and address.
    pub(super) fn write(&self, replicas: &[(&str, SocketAddr)]) -> Result<(), Error> {
        for (name, text) in files(replicas) {
            let file = self.path.join(name);
            let hidden = self.path.join(format!(".{name}.new"));
            fs::write(&hidden, format!("{MARK}\n{text}"))
                .and_then(|()| fs::rename(&hidden, &file))
                .map_err(|source| io_error(&file, source))?;
        }
        Ok(())
    }
}

fn io_error(path: &Path, source: io::Error) -> Error {
    Error::Io {
        path: path.to_owned(),
        source,
    }
}

/// File names and texts.
fn files(replicas: &[(&str, SocketAddr)]) -> [(&'static str, String); 4] {
    [
        ("class.yaml", class()),
        ("chat.yaml", chat(replicas)),
        ("page.yaml", page()),
        (ROUTE_FILE, route()),
    ]
}

fn class() -> String {
    format!(
        "\
# The class that Ingress and WebSocketRoute objects name to say whose they are.
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata:
  name: {INGRESS_CLASS}
spec:
  controller: {CONTROLLER_NAME}
"
    )
}

/// The Service and, as Kubernetes would write them, the addresses behind it: one slice per replica, because
/// the replicas differ in their port and share their address.
fn chat(replicas: &[(&str, SocketAddr)]) -> String {
    let mut text = "\
# The chat application: a Service, and where its two replicas listen.
apiVersion: v1
kind: Service
metadata:
  name: chat
spec:
  ports:
  - name: http
    port: 80
"
    .to_owned();
    for (name, address) in replicas {
        text += &slice(name, *address);
    }
    text
}

fn slice(name: &str, address: SocketAddr) -> String {
    format!(
        "\
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: chat-{name}
  labels:
    kubernetes.io/service-name: chat
addressType: IPv4
ports:
- name: http
  port: {port}
endpoints:
- addresses: [{ip}]
  conditions:
    ready: true
",
        name = name.to_lowercase(),
        ip = address.ip(),
        port = address.port(),
    )
}

fn page() -> String {
    format!(
        "\
# The page: plain HTTP by an ordinary Ingress, shared over both replicas.
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: page
spec:
  ingressClassName: {INGRESS_CLASS}
  rules:
  - http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: chat
            port:
              name: http
"
    )
}

fn route() -> String {
    format!(
        "\
# The WebSocket. Edit this file while the demo runs: what you save is live at once, and no open window
# loses its connection, because a tunnel keeps the route that it was opened with. Only what takes the permission
# away ends it: mode Deny or Ignore.
apiVersion: hawser.dev/v1alpha1
kind: WebSocketRoute
metadata:
  name: chat
spec:
  ingressClassName: {INGRESS_CLASS}
  rules:
  - name: socket
    matches:
    - path: {{type: Exact, value: /ws}}
    backendRefs:
    - {{name: chat, port: 80}}
    upgrade:
      # Only WebSocket handshakes. With Deny a new window is refused, and the open ones get their Close within
      # drain.window (60 s).
      mode: Require
    timeouts:
      # A tunnel without a byte in either direction for this long is closed.
      idle: 1h
    headers:
      request:
        set:
        # The chat shows this to windows that are opened from now on.
        - name: x-demo-topic
          value: Harbour talk
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicas() -> [(&'static str, SocketAddr); 2] {
        [
            ("A", SocketAddr::from(([127, 0, 0, 1], 4001))),
            ("B", SocketAddr::from(([127, 0, 0, 1], 4002))),
        ]
    }

    #[test]
    fn every_manifest_is_yaml_that_names_its_kind() {
        let mut kinds = Vec::new();
        for (name, text) in files(&replicas()) {
            for document in text.split("---\n") {
                let value: serde_json::Value =
                    serde_saphyr::from_str(document).unwrap_or_else(|e| panic!("{name}: {e}"));
                kinds.push(value["kind"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(
            kinds,
            [
                "IngressClass",
                "Service",
                "EndpointSlice",
                "EndpointSlice",
                "Ingress",
                "WebSocketRoute"
            ]
        );
    }

    #[test]
    fn a_second_start_writes_the_files_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("routes");
        let folder = Folder::claim(&path).unwrap();
        folder.write(&replicas()).unwrap();
        fs::write(path.join(ROUTE_FILE), format!("{MARK}\nedited: true\n")).unwrap();
        fs::write(path.join("own.yaml"), "mine: true\n").unwrap();
        drop(folder);

        Folder::claim(&path).unwrap().write(&replicas()).unwrap();

        let route = fs::read_to_string(path.join(ROUTE_FILE)).unwrap();
        assert!(route.contains("kind: WebSocketRoute"));
        let own = fs::read_to_string(path.join("own.yaml")).unwrap();
        assert_eq!(own, "mine: true\n");
    }

    #[test]
    fn two_demos_do_not_share_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Folder::claim(dir.path()).unwrap();
        let error = Folder::claim(dir.path()).unwrap_err();
        assert!(matches!(error, Error::InUse(_)));
        assert!(error.to_string().contains("--manifests"));
    }

    #[test]
    fn a_file_of_somebody_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(ROUTE_FILE);
        fs::write(&file, "kind: Ingress\n").unwrap();
        assert!(matches!(
            Folder::claim(dir.path()),
            Err(Error::NotOurs(named)) if named.ends_with(ROUTE_FILE)
        ));
        assert_eq!(fs::read_to_string(file).unwrap(), "kind: Ingress\n");
    }
}
