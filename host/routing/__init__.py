"""From a call to the plugin that takes it: who may pass, and what an error is called afterwards."""
