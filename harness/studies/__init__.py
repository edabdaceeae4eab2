"""Opens runs for human studies: descriptions, layers and images; writes designed studies."""
