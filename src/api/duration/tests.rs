use proptest::prelude::*;
use rstest::rstest;

use super::*;

#[rstest]
#[case("0h", "0s")]
#[case("0s", "0s")]
#[case("0h0m0s", "0s")]
#[case("1h", "1h")]
#[case("30m", "30m")]
#[case("10s", "10s")]
#[case("500ms", "500ms")]
#[case("2h30m", "2h30m")]
#[case("150m", "2h30m")]
#[case("7230s", "2h30s")]
#[case("1h30m10s", "1h30m10s")]
#[case("10s30m1h", "1h30m10s")]
#[case("100ms200ms300ms", "600ms")]
#[case("99999h59m59s999ms", "99999h59m59s999ms")]
#[case("99999h99999h99999h99999h", "99999h59m59s999ms")]
fn reads_and_prints(#[case] text: &str, #[case] canonical: &str) {
    let duration: Duration = text.parse().expect("a duration");
    assert_eq!(duration.to_string(), canonical);
}

#[rstest]
#[case("")]
#[case("1")]
#[case("1m1")]
#[case("1h30m10s20ms50h")]
#[case("999999h")]
#[case("1.5h")]
#[case("-15m")]
#[case("+15m")]
#[case(" 10s")]
#[case("10s ")]
#[case("10S")]
#[case("10d")]
#[case("10us")]
#[case("h")]
#[case("١s")]
fn refuses(#[case] text: &str) {
    let error = text.parse::<Duration>().expect_err("no duration");
    assert!(error.to_string().contains("as in 30s"), "{error}");
}

#[test]
fn zero_means_off() {
    let duration = |text: &str| text.parse::<Duration>().expect("a duration");
    assert_eq!(duration("0s").enabled(), None);
    assert_eq!(duration("0h0m").enabled(), None);
    assert_eq!(
        duration("1s500ms").enabled(),
        Some(time::Duration::from_millis(1500))
    );
}

proptest! {
    #[test]
    fn printing_and_reading_gives_the_same(millis in 0..=MAX_MS) {
        let duration = Duration::from(time::Duration::from_millis(millis));
        prop_assert_eq!(duration.get().as_millis(), u128::from(millis));
        prop_assert_eq!(duration.to_string().parse(), Ok(duration));
    }

    #[test]
    fn the_pattern_of_the_schema_and_the_parser_agree(text in "([0-9]{0,6}(h|m|s|ms|d)?){0,5}") {
        let pattern = regex::Regex::new(patterns::DURATION.regex).expect("a regex");
        prop_assert_eq!(pattern.is_match(&text), text.parse::<Duration>().is_ok());
    }

    #[test]
    fn no_text_panics_and_no_result_is_out_of_bounds(text in ".*") {
        if let Ok(duration) = text.parse::<Duration>() {
            prop_assert!(duration <= Duration::MAX);
        }
    }
}
