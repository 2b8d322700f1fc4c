//! The control plane of the kit does what its users build on.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use futures_util::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::kit::{
    DEADLINE,
    audit::{self, Use},
    control_plane::{ADDRESS, ControlPlane, PORT, Shared},
    eventually,
    fault_proxy::{Fault, FaultProxy},
    faults::Cut,
    netns::Netns,
    within,
};

static PLANE: Shared = Shared::api();

/// Longer than a healthy answer takes here, short enough to wait for on purpose.
const SILENCE: Duration = Duration::from_secs(2);

async fn make(client: &Client, namespace: &str, name: &str) -> kube::Result<ConfigMap> {
    let mut object = ConfigMap::default();
    object.metadata.name = Some(name.to_owned());
    let objects: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    objects.create(&PostParams::default(), &object).await
}

async fn names(client: &Client, namespace: &str) -> kube::Result<Vec<String>> {
    let objects: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let list = objects.list(&ListParams::default()).await?;
    Ok(list
        .into_iter()
        .filter_map(|map| map.metadata.name)
        .collect())
}

/// The next event of a watch of a namespace's ConfigMaps.
async fn first_event(client: &Client, namespace: &str, query: &str) -> Result<String, String> {
    let path = format!("/api/v1/namespaces/{namespace}/configmaps?watch=true&{query}");
    let request = http::Request::get(path).body(Vec::new()).expect("valid");
    let stream = client
        .request_stream(request)
        .await
        .map_err(|e| e.to_string())?;
    let mut lines = stream.lines();
    let line = timeout(SILENCE, lines.try_next()).await;
    let line = line.map_err(|_| "silence".to_owned())?;
    line.map_err(|error| error.to_string())?
        .ok_or("the end".to_owned())
}

fn is_code(result: kube::Result<impl Sized>, code: u16) -> bool {
    matches!(result, Err(kube::Error::Api(status)) if status.code == code)
}

#[test]
fn it_serves_our_resource_to_whom_may_see_it() {
    let plane = PLANE.get();
    plane.install_crd();
    plane.run(async || {
        let namespace = plane.namespace("routes").await;
        let list = ["get", "wsr", "-n", &namespace];
        assert!(plane.kubectl(&list, "").success);
        let nobody = plane.kubeconfig("nobody", &["some", "groups"]);
        let said = plane.kubectl_as(&nobody, &list, "").failure();
        assert!(said.contains("\"nobody\" cannot list"), "{said}");
        let whoami = ["auth", "whoami", "-o", "json"];
        let said = plane.kubectl_as(&nobody, &whoami, "").text();
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(
            said["status"]["userInfo"]["groups"],
            json!(["some", "groups", "system:authenticated"])
        );
    });
}

#[test]
fn with_the_controller_manager_a_namespace_ends_and_helm_installs() {
    let plane = ControlPlane::full();
    eprintln!(
        "API server and manager were ready after {:?}",
        plane.started_in()
    );
    let chart = plane.folder().join("chart");
    fs::create_dir_all(chart.join("templates")).unwrap();
    fs::write(
        chart.join("Chart.yaml"),
        "apiVersion: v2\nname: c\nversion: 1.0.0\nkubeVersion: '>=1.30.0-0'\n",
    )
    .unwrap();
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: installed}\n";
    fs::write(chart.join("templates/map.yaml"), template).unwrap();
    plane.run(async || {
        let namespace = plane.namespace("full").await;
        let chart = chart.to_str().unwrap();
        plane
            .helm(&["install", "c", chart, "-n", &namespace])
            .text();
        let client = plane.client().await;
        assert!(
            names(&client, &namespace)
                .await
                .unwrap()
                .contains(&"installed".into())
        );
        let delete = ["delete", "namespace", &namespace, "--timeout=60s"];
        plane.kubectl(&delete, "").text();
    });
}

#[test]
fn a_token_is_its_account_and_the_audit_log_tells_what_it_did() {
    let plane = PLANE.get();
    plane.run(async || {
        let namespace = plane.namespace("audit").await;
        let token = plane.token(&namespace, "worker", "").await;
        let kubeconfig = plane.kubeconfig_with(&plane.url(), &namespace, &token);
        let user = format!("system:serviceaccount:{namespace}:worker");
        let create = ["-n", &namespace, "create"];
        let role = [
            "role",
            "worker",
            "--verb=create,list",
            "--resource=configmaps",
        ];
        plane.kubectl(&[&create[..], &role[..]].concat(), "").text();
        let who = format!("--serviceaccount={namespace}:worker");
        let binding = ["rolebinding", "worker", "--role=worker", &who];
        plane
            .kubectl(&[&create[..], &binding[..]].concat(), "")
            .text();
        let worker = plane.client_of(&kubeconfig).await;
        let log = plane.audit();
        eventually("the right is there", async || {
            names(&worker, &namespace).await.ok()
        })
        .await;
        let mark = log.mark();
        make(&worker, &namespace, "made").await.unwrap();
        assert!(is_code(names(&worker, "kube-system").await, 403));
        let entries = eventually("both are in the log", async || {
            let entries = log.of(&user, mark);
            (audit::refused(&entries).len() == 1).then_some(entries)
        })
        .await;
        let rights: Vec<Use> = audit::uses(&entries).into_iter().collect();
        assert_eq!(
            rights,
            [
                Use("create configmaps".into()),
                Use("list configmaps".into())
            ]
        );
        assert!(audit::writers(&entries).contains(&user));
        let made = entries.iter().find(|entry| entry.is_write()).unwrap();
        assert_eq!((&made.namespace, made.code), (&namespace, 201));
    });
}

#[test]
fn a_paused_api_server_says_nothing_and_a_killed_one_comes_back() {
    let plane = ControlPlane::api();
    eprintln!("the API server was ready after {:?}", plane.started_in());
    plane.run(async || {
        let client = plane.client().await;
        plane.pause_api();
        assert!(timeout(SILENCE, names(&client, "default")).await.is_err());
        plane.resume_api();
        timeout(DEADLINE, names(&client, "default"))
            .await
            .unwrap()
            .unwrap();
        make(&client, "default", "kept").await.unwrap();

        plane.kill_api();
        let address = (ADDRESS, PORT);
        let refused = tokio::net::TcpStream::connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        let token = {
            plane.rotate_service_account_key().await;
            plane.token("default", "someone", "").await
        };
        let client = plane.client().await;
        assert_eq!(names(&client, "default").await.unwrap(), ["kept"]);
        let kubeconfig = plane.kubeconfig_with(&plane.url(), "someone", &token);
        let someone = plane.client_of(&kubeconfig).await;
        // Known, but without rights: the key is the new one.
        assert!(is_code(names(&someone, "default").await, 403));
    });
}

#[test]
fn old_watches_get_410_and_a_restored_etcd_has_the_old_objects() {
    let plane = ControlPlane::api();
    plane.run(async || {
        let client = plane.client().await;
        let old = make(&client, "default", "first").await.unwrap();
        let old = old.metadata.resource_version.unwrap();
        let watch = format!("resourceVersion={old}");
        make(&client, "default", "second").await.unwrap();
        let event = first_event(&client, "default", &watch).await.unwrap();
        assert!(event.contains("\"second\""), "{event}");
        plane.forget_history().await;
        let event = first_event(&client, "default", &watch).await.unwrap();
        assert!(event.contains("\"code\":410"), "{event}");

        let snapshot = plane.snapshot().await;
        let client = plane.client().await;
        make(&client, "default", "third").await.unwrap();
        plane.restore(&snapshot).await;
        let client = plane.client().await;
        assert_eq!(
            names(&client, "default").await.unwrap(),
            ["first", "second"]
        );
    });
}

#[test]
fn cut_packets_vanish_until_they_are_healed() {
    // Its own: everybody feels the cut of the server.
    let plane = ControlPlane::api();
    let pod = Netns::new("pod");
    let outside = format!("{}-p", std::process::id());
    pod.ip(&format!(
        "link add eth0 type veth peer name v{outside} netns {}",
        plane.netns().name()
    ));
    pod.ip("addr add 10.244.9.9/16 dev eth0");
    pod.ip("link set eth0 up");
    plane
        .netns()
        .ip(&format!("link set v{outside} master br0 up"));
    let reach = || {
        pod.run(async || timeout(SILENCE, tokio::net::TcpStream::connect((ADDRESS, PORT))).await)
    };
    // A new link takes a moment, a dropped packet is sent again.
    let reaches = || {
        let connect = async || tokio::net::TcpStream::connect((ADDRESS, PORT)).await.ok();
        pod.run(async || eventually("the API server is reached", connect).await);
    };
    reaches();
    let api = ADDRESS.parse().unwrap();
    let cuts: [&dyn Fn() -> Cut; 3] = [
        &|| Cut::host(&pod, api),
        &|| Cut::port(&pod, api, PORT),
        &|| Cut::server(plane.netns(), PORT),
    ];
    for cut in cuts {
        let cut = cut();
        assert!(reach().is_err(), "no answer at all, not even a refusal");
        cut.heal();
        reaches();
    }
    let other_port = Cut::port(&pod, api, 1);
    reaches();
    other_port.heal();
}

#[test]
fn the_proxy_says_what_it_is_told() {
    let plane = PLANE.get();
    let proxy = FaultProxy::start(&plane, plane.admin());
    let kubeconfig = plane.kubeconfig_with(&proxy.url(), "proxy", "ignored");
    plane.run(async || {
        let namespace = plane.namespace("proxy").await;
        let path = format!("/api/v1/namespaces/{namespace}/configmaps");
        let mut config = plane.config_of(&kubeconfig).await;
        config.default_retry = false;
        let client = Client::try_from(config).unwrap();
        make(&client, &namespace, "there").await.unwrap();
        assert_eq!(names(&client, &namespace).await.unwrap(), ["there"]);

        proxy.fail(&path, Fault::Status(500));
        assert!(names(&client, &namespace).await.is_err());
        assert!(names(&client, "default").await.is_ok(), "another path");
        proxy.fail(&path, Fault::Empty);
        assert_eq!(names(&client, &namespace).await.unwrap(), [""; 0]);
        let initial =
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
        let event = first_event(&client, &namespace, initial).await.unwrap();
        assert!(event.contains("initial-events-end"), "{event}");
        proxy.fail(&path, Fault::Truncated);
        let error = names(&client, &namespace).await.unwrap_err();
        assert!(matches!(error, kube::Error::SerdeError(_)), "{error:?}");
        proxy.fail(&path, Fault::Broken);
        assert!(names(&client, &namespace).await.is_err());
        proxy.fail(&path, Fault::Stalled);
        assert!(timeout(SILENCE, names(&client, &namespace)).await.is_err());

        // A running watch feels it, too.
        proxy.heal();
        let watch = format!("{path}?watch=true&resourceVersion=0");
        let request = http::Request::get(watch).body(Vec::new()).unwrap();
        let mut lines = client.request_stream(request).await.unwrap().lines();
        let first = timeout(DEADLINE, lines.try_next()).await.unwrap().unwrap();
        assert!(first.unwrap().contains("\"there\""));
        proxy.fail(&path, Fault::Stalled);
        make(&plane.client().await, &namespace, "later")
            .await
            .unwrap();
        assert!(timeout(SILENCE, lines.try_next()).await.is_err());
        proxy.heal();
        let next = timeout(DEADLINE, lines.try_next()).await.unwrap().unwrap();
        assert!(next.unwrap().contains("\"later\""));
        proxy.fail(&path, Fault::Broken);
        assert!(timeout(DEADLINE, lines.try_next()).await.unwrap().is_err());
    });
}

/// The variable by which a test starts this test binary again as a child, to kill it.
const CHILD: &str = "HAWSER_TEST_CHILD";

#[test]
fn a_killed_test_binary_leaves_nothing() {
    const NAME: &str = "control_plane::a_killed_test_binary_leaves_nothing";
    if let Some(report) = std::env::var_os(CHILD) {
        let plane = ControlPlane::api();
        let etcd = plane.etcd_id();
        let said = json!({"etcd": etcd, "netns": plane.netns().name(), "folder": plane.folder()});
        let aside = Path::new(&report).with_extension("new");
        fs::write(&aside, said.to_string()).unwrap();
        fs::rename(aside, report).unwrap();
        loop {
            std::thread::park();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME])
        .env(CHILD, &report)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let minute = Duration::from_secs(90);
    let said: Value = runtime.block_on(within(
        minute,
        "the child has a control plane",
        async || serde_json::from_str(&fs::read_to_string(&report).ok()?).ok(),
    ));
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    let etcd = Pid::from_raw(said["etcd"].as_i64().unwrap() as i32).unwrap();
    let netns = format!("/run/netns/{}", said["netns"].as_str().unwrap());
    let files = said["folder"].as_str().unwrap();
    runtime.block_on(eventually("nothing is left", async || {
        let is_left = test_kill_process(etcd).is_ok()
            || Path::new(&netns).exists()
            || Path::new(files).exists();
        (!is_left).then_some(())
    }));
}

/// What envtest lays out, without what it does not: the rest comes from the cache.
#[test]
fn kubebuilder_assets_are_honoured() {
    let programs = crate::kit::control_plane::programs();
    let assets = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/control-plane");
    let run = || {
        let ran = Command::new(&script)
            .arg("--print")
            .env("KUBEBUILDER_ASSETS", assets.path())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (ran.status.success(), text(ran.stdout), text(ran.stderr))
    };
    let (success, _, why) = run();
    assert!(!success && why.contains("has no etcd"), "{why}");
    for program in ["etcd", "kube-apiserver", "kubectl"] {
        std::os::unix::fs::symlink(programs.join(program), assets.path().join(program)).unwrap();
    }
    let (success, folder, why) = run();
    assert!(success, "{why}");
    let folder = Path::new(folder.trim());
    assert_eq!(
        fs::read_link(folder.join("etcd")).unwrap(),
        assets.path().join("etcd")
    );
    assert!(folder.join("helm").exists() && folder.join("kube-controller-manager").exists());
    fs::remove_dir_all(folder).unwrap();
}

/// Without the right to make network namespaces: one line that says how to get it, and a failure, never a skip.
#[test]
fn without_network_namespaces_it_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let no = folder.path().join("unshare");
    std::os::unix::fs::symlink("/bin/false", no).expect("a program that fails");
    let path = std::env::var("PATH").expect("a PATH");
    let runner = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/with-netns");
    let ran = Command::new(runner)
        .args(["target/it-0", "--list"])
        .env("PATH", format!("{}:{path}", folder.path().display()))
        .output()
        .expect("the script runs");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(!ran.status.success() && ran.stdout.is_empty(), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for word in ["network namespaces", "become root", "unprivileged_userns"] {
        assert!(said.contains(word), "{said}");
    }
}
