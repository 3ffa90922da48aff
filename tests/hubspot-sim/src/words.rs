//! The words of the demo data, and values for each kind of property, including
//! unusual ones that real portals have.

use rand::{RngExt as _, rngs::StdRng};

use crate::{
    definitions::Definition,
    timestamps::{self, DAY_MS},
};

type PropertySpec = (&'static str, &'static str, &'static str);

/// Contact properties besides the four that each type has.
pub(crate) const CONTACT_PROPERTIES: &[PropertySpec] = &[
    ("email", "string", "text"),
    ("firstname", "string", "text"),
    ("lastname", "string", "text"),
    ("phone", "string", "phonenumber"),
    ("mobilephone", "string", "phonenumber"),
    ("company", "string", "text"),
    ("jobtitle", "string", "text"),
    ("lifecyclestage", "enumeration", "radio"),
    ("hs_lead_status", "enumeration", "radio"),
    ("hubspot_owner_id", "enumeration", "select"),
    ("associatedcompanyid", "number", "number"),
    ("address", "string", "text"),
    ("city", "string", "text"),
    ("state", "string", "text"),
    ("zip", "string", "text"),
    ("country", "string", "text"),
    ("website", "string", "text"),
    ("annualrevenue", "string", "text"),
    ("numemployees", "enumeration", "select"),
    ("industry", "string", "text"),
    ("date_of_birth", "string", "text"),
    ("gender", "string", "text"),
    ("hs_language", "enumeration", "select"),
    ("hs_email_optout", "bool", "booleancheckbox"),
    ("hs_is_unworked", "bool", "calculation_equation"),
    ("hs_email_open", "number", "number"),
    ("hs_email_last_open_date", "datetime", "date"),
    ("hs_analytics_num_visits", "number", "number"),
    ("hs_analytics_source", "enumeration", "select"),
    ("hs_latest_source_timestamp", "datetime", "date"),
    ("hubspotscore", "number", "calculation_score"),
    ("num_associated_deals", "number", "calculation_rollup"),
    ("total_revenue", "number", "number"),
    ("closedate", "datetime", "date"),
    ("notes_last_contacted", "datetime", "date"),
    ("message", "string", "textarea"),
    ("hs_calculated_merged_vids", "string", "text"),
    ("hs_all_owner_ids", "enumeration", "checkbox"),
];

/// Company properties besides the four that each type has.
pub(crate) const COMPANY_PROPERTIES: &[PropertySpec] = &[
    ("name", "string", "text"),
    ("domain", "string", "text"),
    ("industry", "enumeration", "select"),
    ("phone", "string", "phonenumber"),
    ("city", "string", "text"),
    ("state", "string", "text"),
    ("country", "string", "text"),
    ("zip", "string", "text"),
    ("address", "string", "text"),
    ("website", "string", "text"),
    ("annualrevenue", "number", "number"),
    ("numberofemployees", "number", "number"),
    ("founded_year", "string", "text"),
    ("description", "string", "textarea"),
    ("lifecyclestage", "enumeration", "radio"),
    ("hubspot_owner_id", "enumeration", "select"),
    ("is_public", "bool", "booleancheckbox"),
    ("num_associated_contacts", "number", "calculation_rollup"),
    ("closedate", "datetime", "date"),
    ("total_money_raised", "string", "text"),
];

/// Properties of the types without demo data.
pub(crate) const DEAL_PROPERTIES: [PropertySpec; 8] = [
    ("dealname", "string", "text"),
    ("amount", "number", "number"),
    ("pipeline", "enumeration", "select"),
    ("dealstage", "enumeration", "radio"),
    ("closedate", "datetime", "date"),
    ("hubspot_owner_id", "enumeration", "select"),
    ("hs_is_closed", "bool", "calculation_equation"),
    ("description", "string", "textarea"),
];

const FIRST: [&str; 16] = [
    "Ada", "Béla", "Chloé", "Dmitri", "Elif", "Farid", "Grace", "Hana", "Ines", "Jürgen", "Kofi",
    "Lucía", "Mei", "Noor", "Olaf", "Priya",
];
const LAST: [&str; 16] = [
    "Andersson",
    "Brown",
    "Castillo",
    "Dubois",
    "Eriksen",
    "Fischer",
    "García",
    "Haddad",
    "Ito",
    "Jansen",
    "Kowalski",
    "López",
    "Müller",
    "Nakamura",
    "O'Brien",
    "Peña",
];
const PLACES: [(&str, &str, &str); 8] = [
    ("Berlin", "BE", "Germany"),
    ("Boston", "MA", "United States"),
    ("Dublin", "Leinster", "Ireland"),
    ("Kraków", "MP", "Poland"),
    ("Lyon", "ARA", "France"),
    ("Nairobi", "NBO", "Kenya"),
    ("São Paulo", "SP", "Brazil"),
    ("東京", "東京都", "Japan"),
];
const NOUNS: [&str; 8] = [
    "Harbor", "Quartz", "Lantern", "Meadow", "Copper", "Atlas", "Willow", "Falcon",
];
const TRADES: [&str; 5] = ["Software", "Logistics", "Energy", "Foods", "Health & Care"];

/// The choices of an enumeration that HubSpot defines.
pub(crate) fn options(name: &str) -> Vec<String> {
    let options: &[&str] = match name {
        "lifecyclestage" => &[
            "subscriber",
            "lead",
            "marketingqualifiedlead",
            "opportunity",
            "customer",
            "other",
        ],
        "hs_lead_status" => &["NEW", "OPEN", "IN_PROGRESS", "UNQUALIFIED", "CONNECTED"],
        "numemployees" => &["1-5", "5-25", "25-50", "50-100", "100-500", "500+"],
        "hs_language" => &["de", "en", "es", "fr", "ja", "pl", "pt-br"],
        "hs_analytics_source" => &["ORGANIC_SEARCH", "DIRECT_TRAFFIC", "REFERRALS", "OFFLINE"],
        "industry" => &[
            "COMPUTER_SOFTWARE",
            "LOGISTICS",
            "OIL_ENERGY",
            "FOOD",
            "HOSPITAL",
        ],
        "pipeline" => &["default"],
        "dealstage" => &[
            "appointmentscheduled",
            "contractsent",
            "closedwon",
            "closedlost",
        ],
        // Owner ids are an enumeration without options, as in real portals.
        _ => &[],
    };
    options.iter().map(|&option| option.to_owned()).collect()
}

/// A value of a property for the object in a row.
pub(crate) fn value(definition: &Definition, rng: &mut StdRng, row: u64, base_ms: i64) -> String {
    match definition.kind.as_str() {
        "bool" => if rng.random_bool(0.5) {
            "true"
        } else {
            "false"
        }
        .to_owned(),
        "number" => number(&definition.name, rng),
        "date" => match rng.random_range(0..40) {
            // Some dates are in milliseconds, as in HubSpot's guide.
            0 => (base_ms / DAY_MS * DAY_MS - rng.random_range(0..900) * DAY_MS).to_string(),
            _ => timestamps::iso_day(base_ms - rng.random_range(0..9_000) * DAY_MS),
        },
        "datetime" => {
            let ms = base_ms - rng.random_range(0..1_100 * DAY_MS);
            match rng.random_range(0..40) {
                0 => ms.to_string(),
                1 => timestamps::iso(ms / 1_000 * 1_000).replace(".000Z", "Z"),
                _ => timestamps::iso(ms),
            }
        }
        "enumeration" => enumeration(definition, rng),
        _ => text(&definition.name, &definition.field_type, rng, row),
    }
}

fn number(name: &str, rng: &mut StdRng) -> String {
    if name == "associatedcompanyid" {
        return rng
            .random_range(20_000_000_000_u64..20_000_900_000)
            .to_string();
    }
    match rng.random_range(0..60) {
        0 => "3092727991;3881228353".to_owned(),
        1 => "1,234.5".to_owned(),
        2 => "1.25E7".to_owned(),
        3 => rng
            .random_range(9_007_199_254_740_993_u64..18_000_000_000_000_000_000)
            .to_string(),
        4..20 => format!(
            "{}.{:02}",
            rng.random_range(0..100_000),
            rng.random_range(1..100)
        ),
        _ => rng.random_range(0..5_000).to_string(),
    }
}

fn enumeration(definition: &Definition, rng: &mut StdRng) -> String {
    if definition.options.is_empty() {
        return (70_000_001 + rng.random_range(0..12_u64)).to_string();
    }
    if definition.field_type == "checkbox" && rng.random_bool(0.4) {
        return definition
            .options
            .iter()
            .take(2)
            .cloned()
            .collect::<Vec<_>>()
            .join(";");
    }
    pick(&definition.options, rng).cloned().unwrap_or_default()
}

fn text(name: &str, field_type: &str, rng: &mut StdRng, row: u64) -> String {
    let (city, state, country) = pick(&PLACES, rng).copied().unwrap_or_default();
    let firm = || format!("{} {}", word(&NOUNS, row / 3), word(&TRADES, row / 24));
    match name {
        "email" => format!("{}.{row}@example.com", word(&LAST, row / 16).to_lowercase()),
        "firstname" => word(&FIRST, row).to_owned(),
        "lastname" => word(&LAST, row / 16).to_owned(),
        "name" | "company" | "dealname" => firm(),
        "domain" => format!("firm{row}.example.org"),
        "website" => format!("https://www.firm{row}.example.org/?from=crm&lang=en"),
        "phone" | "mobilephone" => format!("+49 30 {:07}", rng.random_range(0..9_999_999)),
        "city" => city.to_owned(),
        "state" => state.to_owned(),
        "country" => country.to_owned(),
        "zip" => format!("{:05}", rng.random_range(0..99_999)),
        "address" => format!("{} {} St", rng.random_range(1..400), word(&LAST, row / 5)),
        "jobtitle" => format!("Head of {}", word(&TRADES, row / 7)),
        "founded_year" => rng.random_range(1890..2026).to_string(),
        "hs_calculated_merged_vids" => String::new(),
        _ if field_type == "textarea" => format!(
            "Met at the {} fair.\nWants a \"quick\" call\tabout C:\\data; 100 % sure 🙂\nNo. {row}",
            word(&NOUNS, row)
        ),
        _ => format!("{} {}", word(&NOUNS, row / 2), rng.random_range(0..10_000)),
    }
}

fn word(words: &[&'static str], row: u64) -> &'static str {
    let index = usize::try_from(row).unwrap_or(0) % words.len().max(1);
    words.get(index).copied().unwrap_or_default()
}

fn pick<'a, T>(all: &'a [T], rng: &mut StdRng) -> Option<&'a T> {
    all.get(rng.random_range(0..all.len().max(1)))
}
