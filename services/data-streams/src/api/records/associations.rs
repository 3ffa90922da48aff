//! The route of what a record is associated with.

use axum::{
    Json,
    extract::{Path, State},
};
use schemas::{ASSOCIATIONS, Association, associations};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    super::{
        Api,
        error::{ApiError, Problem},
    },
    stored,
};

/// What a record is associated with.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct AssociationsBody {
    /// By ascending id.
    results: Vec<AssociationBody>,
}

/// One association.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct AssociationBody {
    /// HubSpot's id of the other object, as a string.
    #[schema(example = "1001")]
    id: String,
    /// `HUBSPOT_DEFINED`, `USER_DEFINED`, `INTEGRATOR_DEFINED`, or another of HubSpot's.
    category: String,
    /// HubSpot's id of the kind of association, unique within its category.
    type_id: i64,
    /// The label; null for the association without one.
    label: Option<String>,
}

impl From<Association> for AssociationBody {
    fn from(association: Association) -> Self {
        Self {
            id: association.id,
            category: association.category,
            type_id: association.type_id,
            label: association.label,
        }
    }
}

/// Parameters of a path that names two object types and a record of the first.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::api) struct AssociationsPath {
    /// Name of the connection.
    #[param(pattern = "^[a-z][a-z0-9_]{0,49}$")]
    name: String,
    /// Object type, such as contacts.
    #[param(pattern = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    object_type: String,
    /// HubSpot's id of the object.
    #[param(pattern = "^[0-9]{1,19}$")]
    id: String,
    /// The type of the objects that it is associated with, such as companies.
    #[param(pattern = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    to_type: String,
}

/// The properties of a record of associations.
#[derive(Deserialize)]
struct Stored {
    #[serde(default, rename = "associations")]
    json: Option<String>,
}

/// Shows what a record is associated with of another object type, from the stream
/// `{object_type}>{to_type}`. HubSpot does not say when an association changes: one is noticed
/// when the record changes or a full pass reads it.
#[utoipa::path(
    get,
    path = "/v1/connections/{name}/records/{object_type}/{id}/associations/{to_type}",
    operation_id = "list_associations",
    tag = "records",
    params(AssociationsPath),
    responses(
        (status = 200, description = "Its associations; several of one object where it has labels", body = AssociationsBody),
        (status = 404, description = "There is no such connection, stream of associations or record", body = Problem),
        (status = 503, description = "ClickHouse does not answer", body = Problem),
    )
)]
pub(in crate::api) async fn list(
    State(api): State<Api>,
    Path(path): Path<AssociationsPath>,
) -> Result<Json<AssociationsBody>, ApiError> {
    let stream = associations::stream(&path.object_type, &path.to_type);
    let properties = Some(vec![ASSOCIATIONS.to_owned()]);
    let record = stored(&api, &path.name, &stream, &path.id, properties).await?;
    let results = read(&record.properties).map_err(|error| {
        tracing::error!(id = record.id, %error, "the associations of a record are not JSON");
        ApiError::Internal
    })?;
    Ok(Json(AssociationsBody {
        results: results.into_iter().map(AssociationBody::from).collect(),
    }))
}

fn read(properties: &str) -> Result<Vec<Association>, serde_json::Error> {
    let stored: Stored = serde_json::from_str(properties)?;
    stored
        .json
        .map_or(Ok(Vec::new()), |json| serde_json::from_str(&json))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn associations_are_the_text_of_one_property_or_none() {
        let association = Association {
            id: "7".to_owned(),
            category: "USER_DEFINED".to_owned(),
            type_id: 4,
            label: Some("Billing \"contact\"".to_owned()),
        };
        let text = associations::to_json(vec![association.clone()]);
        let properties = serde_json::json!({ ASSOCIATIONS: text }).to_string();
        assert_eq!(read(&properties).unwrap(), [association]);
        assert_eq!(read("{}").unwrap(), []);
        assert!(read(r#"{"associations":"[{}]"}"#).is_err());
    }
}
