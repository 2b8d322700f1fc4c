//! F27: thousands of objects come, go, and come again.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use k8s_openapi::api::networking::v1::Ingress;
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::json;

use super::{answers, apply, here, own_plane, page, start, status};
use crate::kit::{client, manifest, origin, within};

/// Creates at a time.
const WRITERS: usize = 16;

/// Long enough for a machine on which the API server makes some tens of objects a second.
const LONG: Duration = Duration::from_mins(5);

/// Enough to need several pages of a list; the whole number in long runs.
fn objects() -> usize {
    if env::var_os("HAWSER_SOAK_MINUTES").is_some() {
        10_000
    } else {
        2_000
    }
}

fn ingress(number: usize) -> Ingress {
    let service = json!({"service": {"name": "pages", "port": {"number": 80}}});
    let path = json!({"path": "/", "pathType": "Prefix", "backend": service});
    serde_json::from_value(json!({
        "metadata": {"name": format!("many-{number}")},
        "spec": {
            "ingressClassName": "hawser",
            "rules": [{"host": format!("many-{number}.test"), "http": {"paths": [path]}}],
        },
    }))
    .expect("an Ingress")
}

#[test]
fn thousands_of_ingresses_come_go_and_come_again() {
    let plane = own_plane();
    plane.run(async || {
        let namespace = plane.namespace("many").await;
        let http = origin::http_on(here()).await;
        let yaml = manifest::service("pages", &[http.addr]) + &page("steady");
        apply(&plane, &namespace, &yaml);
        let hawser = start(&plane, plane.admin(), &[]).await;
        hawser.ready().await;
        answers(&hawser, "steady", 200).await;
        let (objects, hawser) = (objects(), Arc::new(hawser));

        let stop = Arc::<AtomicBool>::default();
        let lookups = Arc::<AtomicUsize>::default();
        let steady = tokio::spawn({
            let (hawser, stop, lookups) =
                (Arc::clone(&hawser), Arc::clone(&stop), Arc::clone(&lookups));
            async move {
                let mut times = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    assert_eq!(status(&hawser, "steady").await, Some(200));
                    times.push(asked.elapsed());
                    assert!(hawser.is_ready().await);
                    lookups.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                times
            }
        });
        // Some of them before anything else happens.
        let calm = within(LONG, "requests are answered", async || {
            let count = lookups.load(Ordering::Relaxed);
            (count >= 100).then_some(count)
        })
        .await;
        let ingresses: Api<Ingress> = Api::namespaced(plane.client().await, &namespace);
        let known = async |wanted: usize| {
            let series = r#"hawser_table_objects{kind="Ingress"}"#;
            within(LONG, &format!("{wanted} Ingresses are live"), async || {
                let known = hawser.metric(series).await.unwrap_or_default() as usize;
                (known == wanted).then_some(())
            })
            .await;
        };
        for round in 1..=2 {
            let start = Instant::now();
            stream::iter(0..objects)
                .for_each_concurrent(WRITERS, async |number| {
                    let made = ingresses
                        .create(&PostParams::default(), &ingress(number))
                        .await;
                    made.expect("created");
                })
                .await;
            let made = Instant::now();
            known(objects).await;
            println!(
                "round {round}: {objects} made in {:?}, live {:?} later, {} MiB",
                made - start,
                made.elapsed(),
                hawser.rss() >> 20
            );
            for number in [0, objects / 2, objects - 1] {
                let host = format!("many-{number}.test");
                let answer = client::get(hawser.http, &host, "/").await;
                assert_eq!(answer.expect("an answer").status, 200, "{host}");
            }
            let start = Instant::now();
            let all = ListParams::default();
            let deleted = ingresses
                .delete_collection(&DeleteParams::default(), &all)
                .await;
            deleted.expect("deleted");
            known(0).await;
            println!(
                "round {round}: deleted and no longer live after {:?}",
                start.elapsed()
            );
            let answer = client::get(hawser.http, "many-0.test", "/").await;
            assert_eq!(answer.expect("an answer").status, 404);
        }
        stop.store(true, Ordering::Relaxed);
        let mut times = steady.await.expect("requests and readiness went on");
        let mut meanwhile = times.split_off(calm);
        println!("requests before: {}", percentiles(&mut times));
        println!("requests meanwhile: {}", percentiles(&mut meanwhile));
        assert!(!meanwhile.is_empty());
    });
}

/// Sorts them, too. API server, etcd and load share the processors, so they are printed and not judged.
fn percentiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    format!("{}, p50 {:?}, p99 {:?}", times.len(), at(50), at(99))
}
