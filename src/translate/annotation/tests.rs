use rstest::rstest;

use super::*;
use crate::ir::{Origin, defaults};

fn read(key: &str, value: &str) -> (Policy, Vec<String>) {
    let annotations = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let mut warnings = Listed::default();
    let policy = policy(Some(&annotations), &mut warnings);
    (policy, warnings.into_lines())
}

#[rstest]
#[case("require")]
#[case("REQUIRE")]
#[case(" Require ")]
fn words_are_read_in_any_case(#[case] value: &str) {
    let (policy, warnings) = read("hawser.dev/upgrade", value);
    assert_eq!(
        policy.upgrade.mode,
        Setting::annotation(UpgradeMode::Require)
    );
    assert!(warnings.is_empty());
}

#[rstest]
#[case("hawser.dev/upgrade", "on")]
#[case("hawser.dev/subprotocols", "a b")]
#[case("hawser.dev/subprotocols", "")]
#[case("hawser.dev/idle-timeout", "-1s")]
#[case("hawser.dev/response-timeout", "60")]
#[case("hawser.dev/idel-timeout", "1h")]
#[case("hawser.dev/cache", "Enabled")]
#[case("hawser.dev/max-lifetime", "1d")]
#[case("hawser.dev/keepalive-interval", "999ms")]
#[case("hawser.dev/connections", "")]
#[case("hawser.dev/connections", "+5")]
#[case("hawser.dev/connections", "10000001")]
#[case("hawser.dev/connections", "99999999999999999999")]
#[case("hawser.dev/connections-per-client", "1e3")]
#[case("hawser.dev/connections-per-client", "-1")]
#[case("hawser.dev/drain-window", "60")]
fn a_bad_one_is_one_warning_and_the_default(#[case] key: &str, #[case] value: &str) {
    let (read, warnings) = read(key, value);
    assert_eq!(read, Policy::default());
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains(key), "{warnings:?}");
}

#[test]
fn explanations_name_the_same_keys() {
    let explained = crate::ir::ANNOTATIONS.map(|(_, key)| key);
    assert_eq!(explained, Annotation::ALL.map(Annotation::key));
}

#[test]
fn zero_is_off() {
    let (policy, _) = read("hawser.dev/idle-timeout", "0s");
    assert_eq!(policy.timeouts.idle, Setting::annotation(None));
    let (policy, _) = read("hawser.dev/keepalive-interval", "0s");
    assert_eq!(policy.keepalive.interval, Setting::annotation(None));
    let (policy, _) = read("hawser.dev/connections", "0");
    assert_eq!(policy.limits.connections, Setting::annotation(None));
}

#[test]
fn numbers_and_times_are_read() {
    let (policy, _) = read("hawser.dev/connections", " 10000000 ");
    assert_eq!(
        policy.limits.connections,
        Setting::annotation(Some(10_000_000))
    );
    let (policy, _) = read("hawser.dev/connections-per-client", "7");
    assert_eq!(
        policy.limits.connections_per_client,
        Setting::annotation(Some(7))
    );
    let (policy, _) = read("hawser.dev/keepalive-interval", "1s");
    assert_eq!(
        policy.keepalive.interval,
        Setting::annotation(Some(Duration::from_secs(1)))
    );
    let (policy, _) = read("hawser.dev/drain-window", "0s");
    assert_eq!(policy.drain.window, Setting::annotation(Duration::ZERO));
}

#[test]
fn the_mode_moves_the_default_of_the_response_time() {
    let (policy, _) = read("hawser.dev/upgrade", "deny");
    assert_eq!(policy.timeouts.response.value, Some(defaults::RESPONSE));
    assert_eq!(policy.timeouts.response.origin, Origin::Default);
}

#[test]
fn others_keys_are_none_of_our_business() {
    let (_, warnings) = read("nginx.ingress.kubernetes.io/rewrite-target", "/$1");
    assert!(warnings.is_empty());
}
