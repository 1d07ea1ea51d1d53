//! Loading of all documents of a tree.

use super::document::{IMAGE_DOWNLOADS, INDEX_PATH, Index, Products, parse_index, parse_products};
use super::error::StreamsError;
use super::images::{Image, images_of};
use super::problem::{Location, Problem};
use super::source::Source;

/// Content of a tree.
#[derive(Debug, Clone)]
pub struct Streams {
    /// The index.
    pub index: Index,
    /// Documents of products, by path relative to the root.
    pub documents: Vec<(String, Products)>,
    /// Images of all documents.
    pub images: Vec<Image>,
    /// Entries that servers ignore.
    pub problems: Vec<Problem>,
}

/// Loads the index and its documents of images.
///
/// # Errors
///
/// [`StreamsError`] when a document cannot be read or parsed. Unusable products, versions and items
/// are not errors but entries of [`Streams::problems`].
pub async fn load(source: &Source) -> Result<Streams, StreamsError> {
    let failed = |path: &str| {
        let path = source.name_of(path);
        move |error| StreamsError::Document { path, source: error }
    };
    let index = parse_index(&source.text(INDEX_PATH).await?).map_err(failed(INDEX_PATH))?;
    let (mut documents, mut images, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for entry in index.index.values() {
        // Servers skip documents with other data types, and those that list no products.
        if entry.datatype != IMAGE_DOWNLOADS || entry.products.is_empty() {
            continue;
        }
        let products = source.text(&entry.path).await?;
        let products = parse_products(&products).map_err(failed(&entry.path))?;
        let (found, wrong) = images_of(&products);
        images.extend(found);
        problems.extend(wrong);
        for key in &entry.products {
            if !products.products.contains_key(key) {
                let problem = format!("is in the index but not in {}", entry.path);
                problems.push(Problem::new(Location::product(key), problem));
            }
        }
        documents.push((entry.path.clone(), products));
    }
    Ok(Streams { index, documents, images, problems })
}
