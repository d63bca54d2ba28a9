//! Flags: generated from the table, and read before a command runs.

use clap::builder::{PossibleValue, PossibleValuesParser, ValueParser};
use clap::{Arg, ArgAction, ArgMatches};
use embed_stack::settings::{Flags, Names, Setting, Settings, TABLE, sharing};

/// The heading over these flags.
const HEADING: &str = "Settings (flags win over variables, variables over the file: embed config --help)";

/// The flags of the settings with these keys and in these sections, for `#[command(args = flags(…))]`. Their values are in
/// the [`Settings`] that the command gets.
pub(crate) fn flags(keys: &[&str]) -> Vec<Arg> {
    let mut flags: Vec<Arg> = Vec::new();
    for setting in
        TABLE.iter().filter(|setting| keys.contains(&setting.key) || keys.contains(&setting.path().0))
    {
        let Some((flag, value)) = setting.flag else { continue };
        if !flags.iter().any(|known| known.get_long() == Some(flag)) {
            flags.push(arg(setting, flag).long(flag).value_name(value).help_heading(HEADING).global(true));
        }
    }
    flags
}

fn arg(setting: &'static Setting, flag: &str) -> Arg {
    let sharers: Vec<_> = sharing(flag).collect();
    let id = sharers.first().map_or(setting.key, |first| first.key);
    let arg = Arg::new(id).help(sharers.iter().map(|setting| help(setting)).collect::<Vec<_>>().join(" "));
    match setting.choices() {
        Some(names) => arg.value_parser(PossibleValuesParser::new(possible(names))).ignore_case(true),
        // clap's messages quote the value, and the values of a shared flag depend on the service.
        _ if setting.secret || sharers.len() > 1 => arg,
        None if setting.takes_several() => arg.action(ArgAction::Append).value_parser(checked(setting)),
        _ => arg.value_parser(checked(setting)),
    }
}

fn possible(names: Names) -> Vec<PossibleValue> {
    let value = |(name, help): &(&'static str, &'static str)| match *help {
        "" => PossibleValue::new(*name),
        help => PossibleValue::new(*name).help(help),
    };
    names.iter().map(value).collect()
}

fn help(setting: &Setting) -> String {
    let Setting { help, variable, .. } = setting;
    match setting.get(&Settings::default()) {
        Some(default) => format!("{help} [default: {default}; variable: {variable}]"),
        None => format!("{help} [variable: {variable}]"),
    }
}

/// Makes clap report an invalid value as wrong usage.
fn checked(setting: &'static Setting) -> ValueParser {
    ValueParser::new(move |text: &str| setting.check(text).map(|()| text.to_owned()))
}

/// The flags that the command was given, by their names.
pub(super) fn given(matches: &ArgMatches) -> Flags {
    let mut matches = matches;
    while let Some((_, of_command)) = matches.subcommand() {
        matches = of_command;
    }
    let given = TABLE.iter().filter_map(|first| {
        let (flag, _) = first.flag?;
        // A shared flag has the key of the first of its settings.
        let values = matches.try_get_many::<String>(first.key).ok()??;
        Some((flag, values.map(|value| value.trim()).collect::<Vec<_>>().join(",")))
    });
    given.collect()
}
