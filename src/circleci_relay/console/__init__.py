"""What an operator can ask and do, once for the API, the page and whoever comes next."""
