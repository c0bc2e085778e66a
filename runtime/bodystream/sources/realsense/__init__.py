"""RealSense cameras and librealsense's recordings."""
