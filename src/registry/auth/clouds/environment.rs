//! The variables by which clouds tell programs of their identity.

use std::path::PathBuf;

use secrecy::SecretString;

/// The variables that the libraries of Google Cloud and Azure read as well. None: not set, or empty.
#[derive(Clone, Debug, Default)]
pub struct CloudEnvironment {
    /// `GOOGLE_APPLICATION_CREDENTIALS`: a file with credentials.
    pub google_credentials: Option<PathBuf>,
    /// Where `gcloud auth application-default login` leaves such a file.
    pub google_user_credentials: Option<PathBuf>,
    /// `GCE_METADATA_HOST`: `host[:port]` of the metadata server.
    pub google_metadata: Option<String>,
    /// `AZURE_TENANT_ID`.
    pub azure_tenant: Option<String>,
    /// `AZURE_CLIENT_ID`.
    pub azure_client: Option<String>,
    /// `AZURE_CLIENT_SECRET`.
    pub azure_secret: Option<SecretString>,
    /// `AZURE_FEDERATED_TOKEN_FILE`: the token of the Pod's ServiceAccount.
    pub azure_token_file: Option<PathBuf>,
    /// `AZURE_AUTHORITY_HOST`: the URL of Microsoft Entra ID.
    pub azure_authority: Option<String>,
    /// `AZURE_POD_IDENTITY_AUTHORITY_HOST`: the URL of the instance metadata service.
    pub azure_metadata: Option<String>,
}

impl CloudEnvironment {
    /// Reads the variables from `env`.
    pub fn read(env: &dyn Fn(&str) -> Option<String>) -> Self {
        let text = |name: &str| env(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let path = |name: &str| text(name).map(PathBuf::from);
        let gcloud = path("CLOUDSDK_CONFIG").or_else(|| path("HOME").map(|home| home.join(".config/gcloud")));
        Self {
            google_credentials: path("GOOGLE_APPLICATION_CREDENTIALS"),
            google_user_credentials: gcloud.map(|folder| folder.join("application_default_credentials.json")),
            google_metadata: text("GCE_METADATA_HOST"),
            azure_tenant: text("AZURE_TENANT_ID"),
            azure_client: text("AZURE_CLIENT_ID"),
            azure_secret: text("AZURE_CLIENT_SECRET").map(SecretString::from),
            azure_token_file: path("AZURE_FEDERATED_TOKEN_FILE"),
            azure_authority: text("AZURE_AUTHORITY_HOST"),
            azure_metadata: text("AZURE_POD_IDENTITY_AUTHORITY_HOST"),
        }
    }
}
