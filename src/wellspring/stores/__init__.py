"""Where bytes rest; knows no meaning."""
