# Install and export rules: headers, the client library, its pkg-config file.
