"""Reading clips from video files exactly as an application on a device has to."""
