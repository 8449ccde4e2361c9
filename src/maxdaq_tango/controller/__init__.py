"""The DAQController device: any number of detector + receiver pairs, armed, triggered and stopped as one."""
