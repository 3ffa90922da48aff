//! The view of all associations of a destination: a row for each that holds now, made of the
//! tables of its streams of associations.

use schemas::{ASSOCIATIONS, AssociatedTypes, associations::SEPARATOR};

use super::{
    claims,
    error::WarehouseError,
    names::{ASSOCIATIONS_VIEW, REBUILD_SUFFIX, TableName, literal, raw_database},
    session::Session,
};

/// Maximum number of times that the view is made, in case other processes make tables at the
/// same time.
const ATTEMPTS: usize = 3;

/// Name, type and comment of each column.
const COLUMNS: [(&str, &str, &str); 7] = [
    ("from_type", "String", "Object type"),
    ("from_id", "UInt64", "HubSpot's id of the object"),
    ("to_type", "String", "Object type of the other object"),
    ("to_id", "UInt64", "HubSpot's id of the other object"),
    (
        "category",
        "String",
        "HUBSPOT_DEFINED, USER_DEFINED, INTEGRATOR_DEFINED, or another of HubSpot's",
    ),
    (
        "type_id",
        "Int64",
        "HubSpot's id of the kind of association, unique within its category",
    ),
    (
        "label",
        "Nullable(String)",
        "The label; NULL for the association without one",
    ),
];

/// Replaces the view by one of all tables there are.
pub(super) async fn replace(session: &Session, destination: &str) -> Result<(), WarehouseError> {
    let view = TableName::new(destination, ASSOCIATIONS_VIEW);
    if !claims::foreign(session, destination, &[&view])
        .await?
        .is_empty()
    {
        // No record is stored through it.
        tracing::warn!(table = %view, "there is no view of associations: its name is taken");
        return Ok(());
    }
    let mut streams = streams(session, destination).await?;
    for _ in 0..ATTEMPTS {
        let Some(statement) = statement(destination, &streams) else {
            return Ok(());
        };
        session.execute("create a view", &statement).await?;
        let made = std::mem::replace(&mut streams, self::streams(session, destination).await?);
        if made == streams {
            break;
        }
    }
    Ok(())
}

/// The streams of associations whose tables have their column.
async fn streams(session: &Session, destination: &str) -> Result<Vec<String>, WarehouseError> {
    let query = session
        .client()
        .query(
            "SELECT table FROM system.columns WHERE database = ? AND name = ? AND position(table, \
             ?) > 0 AND NOT endsWith(table, ?) ORDER BY table",
        )
        .bind(raw_database(destination))
        .bind(ASSOCIATIONS)
        .bind(SEPARATOR.to_string())
        .bind(REBUILD_SUFFIX)
        .fetch_all::<String>();
    session.within("list tables", query).await
}

/// The statement that creates the view; `None` without a stream.
fn statement(destination: &str, streams: &[String]) -> Option<String> {
    let selects: Vec<_> = streams
        .iter()
        .filter_map(|stream| Some(select(destination, stream, AssociatedTypes::of(stream)?)))
        .collect();
    let columns =
        COLUMNS.map(|(name, kind, comment)| format!("{name} {kind} COMMENT {}", literal(comment)));
    (!selects.is_empty()).then(|| {
        format!(
            "CREATE OR REPLACE VIEW {} ({}) DEFINER = CURRENT_USER SQL SECURITY DEFINER AS {}",
            TableName::new(destination, ASSOCIATIONS_VIEW),
            columns.join(", "),
            selects.join(" UNION ALL "),
        )
    })
}

fn select(destination: &str, stream: &str, types: AssociatedTypes<'_>) -> String {
    format!(
        "SELECT {} AS from_type, t._object_id AS from_id, {} AS to_type, toUInt64(it.id) AS to_id, \
         it.category AS category, it.type_id AS type_id, it.label AS label FROM {} AS t FINAL \
         ARRAY JOIN JSONExtract(ifNull(t.{ASSOCIATIONS}, '[]'), 'Array(Tuple(id String, category \
         String, type_id Int64, label Nullable(String)))') AS it WHERE NOT t._deleted AND NOT \
         t._archived",
        literal(types.from),
        literal(types.to),
        TableName::storage(destination, stream),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_view_has_a_part_for_each_stream() {
        assert_eq!(statement("hubspot", &[]), None);
        let streams = ["companies>contacts", "contacts>companies"].map(str::to_owned);
        let made = statement("hubspot", &streams).unwrap();
        assert_eq!(made.matches("UNION ALL").count(), 1, "{made}");
        assert!(
            made.contains("FROM `hubspot_raw`.`contacts>companies` AS t FINAL"),
            "{made}"
        );
    }
}
